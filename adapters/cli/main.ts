#!/usr/bin/env node
// Native calls run on libuv's threads, which files, DNS and image decoding share; the pool is sized
// when first used, so this comes before everything else.
process.env['UV_THREADPOOL_SIZE'] ??= '8';

const { run } = await import('./run.ts');
process.exitCode = await run(process.argv.slice(2), process.env);
