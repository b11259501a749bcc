/** What the bundle's .wasm files are in a Worker, which compiles them ahead. */
declare module '*.wasm' {
  const module: WebAssembly.Module;
  // oxlint-disable-next-line import/no-default-export -- it is what bundlers give
  export default module;
}
