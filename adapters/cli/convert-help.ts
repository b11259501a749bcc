export const CONVERT_HELP = `gemlet convert flax <checkpoint> <destination> [options]

Turns Google's int4 checkpoint for Flax (an Orbax folder, as Kaggle has it: fp32
values on a 4-bit grid) into an AWQ checkpoint in Hugging Face's layout, or into
a bundle. Run again after a stop, it goes on where it was.

  <checkpoint>           the folder that holds manifest.ocdbt or _METADATA, its
                         s3://bucket/folder or https URL
  <destination>          a folder; a bundle may also go to s3://bucket/prefix

      --format <f>       awq (default): a Hugging Face folder;
                         bundle: what gemlet pack makes, without the folder
      --tokenizer <dir>  folder with tokenizer.json, copied beside the weights
      --config <dir>     folder with the config.json of a model that is none of
                         Gemma 3's own sizes
      --threads <count>  default: one for each core`;
