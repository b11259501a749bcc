/** Texts of `--help`: what a person wants to know first comes first. */

export const HELP = `gemlet serves Google's Gemma 3 behind an OpenAI-compatible API.

  gemlet serve                      serve the demo model that comes with the package
  gemlet serve --model ./my-gemma   serve a Hugging Face checkpoint
  gemlet gateway --replica <url>    the same API over several servers
  gemlet inspect ./my-gemma         what a checkpoint holds and the memory it needs
  gemlet pack ./my-gemma s3://b/g   publish it for loading from an object store
  gemlet verify s3://b/g            read all of it and compare
  gemlet convert flax ./orbax ./out Google's int4 checkpoint for Flax made servable
  gemlet bounds                     what one caller may cost, and the options for it
  gemlet deploy cloudrun            what takes it to a cloud, with --dry-run only said

  gemlet serve --help               all options
  gemlet --version`;

export const SERVE_HELP = `gemlet serve [model] [options]

Serves a model on http://127.0.0.1:8787. Each option can also be given as an
environment variable: --api-key as GEMLET_API_KEY, and so on.

Model
  -m, --model <where>      demo (default), a folder with a Hugging Face
                           checkpoint, hf:org/name[@revision], or the https
                           URL of such a folder
      --name <id>          what clients call it (default: the folder's name)
      --alias <name>       another name for it; may be given several times
      --any-model          take any name, such as gpt-4o; answers bear its own
      --hf-token <token>   read token for gated repositories (also HF_TOKEN)

Answers
      --precision <p>      fast (default): activations rounded to int8 per
                           block of 32, as llama.cpp does;
                           exact: fp32 throughout, for tests and small models
      --head <format>      output head as int8 (default), int4 or float
      --context <tokens>   longest prompt plus answer (default: 8192, or the
                           model's limit where that is lower)

Machine
      --slots <count>      answers computed at the same time (default: 4)
      --queue <count>      requests that may wait for a slot (default: 64)
      --max-concurrent <n> answers of one API key that may run and wait (default: as
                           many as slots and queue take; of a full queue the key
                           with most places makes room for others)
      --stall-timeout <s>  give up answers of which nothing is read for so long
                           (default: 60; 0 never)
      --image-timeout <s>  longest that decoding one picture may take (default: 10)
      --image-megapixels <n>  largest picture (default: 25)
      --image-urls <which> https URLs of pictures to fetch: on (default), off, or
                           hosts such as example.com,*.example.org
      --kv-budget <size>   memory for conversations that wait for their next turn
                           without a slot, such as 2GB; 0 computes them again
                           (default: a quarter of what the model leaves free)
      --kv-store <where>   folder or s3://bucket/prefix where conversations outlive
                           this process and are found by its replicas
      --kv-store-format <f>  exact (default): to the bit; int8: a quarter of the
                           bytes, rounded
      --kv-store-key <key> 16 characters or more; only what servers with this key wrote
                           there is taken (better as GEMLET_KV_STORE_KEY)
      --kv-restore <when>  faster (default): where measured rates say that it is
                           faster than computing again; always
      --kv-store-size <s>  most that may lie there, such as 200GB; then the least
                           recently used goes, of the API key with most; 0 any
                           (default: 64GiB, at most half of a folder's disk)
      --kv-keep-days <n>   remove what nobody used for so many days (default: 7;
                           0 never)
      --session-ttl <s>    how long a named conversation is kept (default: 86400)
      --session-quota <size>, --session-count <n>
                           most that those of one API key may take
      --prefill-budget <ms>  longest pause of running answers while prompts are
                           read (default: 250)
      --speculate          guess the next tokens of a lone answer from its
                           conversation and check several at once; pays where
                           answers repeat what they were given
      --drain-timeout <s>  from SIGTERM to the end: running answers finish and
                           conversations are written (default: 8)
      --threads <count>    compute threads (default: all)

Starting
      --load <when>        eager (default): at once; lazy: with the first request.
                           Either way the server listens at once
      --idle-unload <s>    give the memory back after this many seconds without
                           requests; the next one loads the model again
      --hold <s>           seconds that answers which are no streams wait for a
                           model that loads, before 503 (default: 30)
      --ping <path>        answer a load balancer here without a key: 200 serving,
                           204 loading, 503 stopping; RunPod asks /ping

Network
  -p, --port <port>        0 picks a free one (default: 8787; also PORT)
      --host <address>     0.0.0.0 lets other machines in, which takes a key, or
                           --allow-anyone (default: 127.0.0.1)
      --api-key <key>      ask for this key on every route but the health checks;
                           may be given several times; 16 characters or more where
                           other machines can connect; sha256:<hex> is a key's digest
      --api-key-file <f>   keys from a file, one a line, read again when it changes
                           and on SIGHUP; no list of processes shows them
      --metrics-key <key>, --metrics-key-file <f>
                           keys that read /metrics, which keys of clients do not
      --allow-anyone       serve other machines without keys
      --allow-host <name>  without keys, a name that requests may come under, beside
                           localhost and addresses; *.example.org, or * for all
      --rate-requests <n>, --rate-tokens <n>
                           requests, and tokens in and out, of one key a minute
                           (default: any)
      --wrong-keys <n>     different wrong keys of one address that are looked at in
                           a minute (default: 30; 0 all)
      --proxies <n>        reverse proxies in front: a client's address is so many
                           from the right in x-forwarded-for (default: 0)
      --cors <origin>      let web pages of this origin call; * for all
      --log <format>       a line on stdout for each request and failure, never
                           with prompts or keys: json, pretty or off (default:
                           pretty on a terminal, else json); health checks and
                           metrics are left out unless they fail
      --max-body <size> and other bounds on what one caller may cost:
                           gemlet bounds lists them
      --fleet-key <key>, --fleet-key-file <f>
                           let gateways that share this key (16 characters or
                           more) send prompts; may be given several times. Without
                           API keys other machines' clients are not let in then`;

export const INSPECT_HELP = `gemlet inspect <model> [options]

Prints what a checkpoint holds (shapes, quantisation, sizes) and the memory it
needs, reading only file headers. Of an Orbax checkpoint (Flax) it lists the arrays.

      --json               the same as JSON
      --hf-token <token>   read token for gated repositories (also HF_TOKEN)`;
