export const PACK_HELP = `gemlet pack <model> <destination> [options]

Publishes a model as a bundle that servers load straight from an object store:
weights in the order and layout of loading, cut into parts of 8 MiB that are
named by their SHA-256, and a manifest. Packing again sends only what is missing
or differs.

  <model>              a folder, hf:org/name, an https URL, or demo
  <destination>        a folder or s3://bucket/prefix

      --head <format>  int8, int4, or table, which keeps none and rounds it at
                       every load (default: the table itself where it lies on
                       Google's int4 grid, else int8)
      --hf-token <t>   read token for gated repositories (also HF_TOKEN)`;

export const VERIFY_HELP = `gemlet verify <bundle>

Reads all of a bundle and compares every object with the manifest's SHA-256.

      --hf-token <t>   token for the location (also HF_TOKEN)`;
