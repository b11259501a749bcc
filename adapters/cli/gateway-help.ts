export const GATEWAY_HELP = `gemlet gateway --replica <url> [--replica <url> ...] --fleet-key <key> [options]

Serves the same API over replicas, which run gemlet serve --fleet-key <key>.
Prompts and pictures are prepared here; a conversation goes back to the replica
that has its cache; answers of a replica that is lost go on at another one.

Fleet
      --replica <url>        address of a replica; may be given several times
      --fleet-key <key>, --fleet-key-file <f>
                             shared with the replicas, 16 characters or more;
                             the first of several signs, replicas take them all
      --affinity <kind>      pool (default): own replicas, each with its address;
                             runpod, modal, baseten, or cookie (Cloud Run, Azure):
                             one address, that of the platform's load balancer
      --replica-header <h>   "name: value" sent to replicas, such as the
                             platform's own key; may be given several times
      --bundle <where>       folder, s3:// or https:// of the model's bundle, to
                             prepare prompts while no replica is up (default:
                             replicas are asked what they serve)
      --name <id>, --context <tokens>   with --bundle, as the replicas have them;
                             of an upstream, what it does not tell

Instead of a fleet
      --upstream <url>       vLLM, SGLang, llama.cpp, TGI, gemlet or any server with
                             OpenAI's API; --upstream-key, --upstream-model, and
                             --upstream-kind where it is not found out
      --upstream-header <h>  "name: value" sent with every request, such as a platform's
                             key; several, or GEMLET_UPSTREAM_HEADER="a: b, c: d", so
                             that no secret stands in a command line
      --upstream-session-header <name>   header in which a balancer there finds
                             the conversation (x-user-id), hashed

Starting and network, as in gemlet serve
      --hold <s>, --ping <path>, --drain-timeout <s>, --stall-timeout <s>,
      --image-timeout <s>, --image-megapixels <n>,
      --image-urls <which>, --log <format>, --alias <name>, --any-model
  -p, --port <port>, --host <address>, --cors <origin>, --api-key <key>,
      --api-key-file <f>, --metrics-key <key>, --metrics-key-file <f>,
      --allow-anyone, --allow-host <name>, --rate-requests <n>,
      --rate-tokens <n>, --wrong-keys <n>, --proxies <n>;
      gemlet bounds lists more`;
