"""Arrays in zarr v3: python make.py, in this folder, which must hold nothing else.

orbax/ and directories/ are written by orbax-checkpoint 0.12.4 with use_zarr3 from four devices, shards/
by TensorStore 0.1.85 with shards of several chunks, which Orbax does not use.
"""

import hashlib
import json
import os
import shutil

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
os.environ["JAX_PLATFORMS"] = "cpu"

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts
from jax.sharding import Mesh, NamedSharding, PartitionSpec

random = np.random.default_rng(0)
mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("a", "b"))
found = {}


def keep(folder, name, values):
    values = np.asarray(values).astype("<f4")
    found.setdefault(folder, {})[name] = {
        "shape": values.shape,
        "sha256": hashlib.sha256(values.tobytes()).hexdigest(),
    }


def put(values, *axes):
    return jax.device_put(values, NamedSharding(mesh, PartitionSpec(*axes)))


matrix = put(random.standard_normal((12, 10)).astype(np.float32), "a", "b")
scale = put(jnp.asarray(random.standard_normal(8), jnp.bfloat16))
tree = {"layer_0/attn": {"w": matrix}, "final_norm": {"scale": scale}}
for folder, use_ocdbt in {"orbax": True, "directories": False}.items():
    path = os.path.abspath(folder)
    handler = ocp.PyTreeCheckpointHandler(use_zarr3=True, use_ocdbt=use_ocdbt)
    ocp.Checkpointer(handler).save(path, ocp.args.PyTreeSave(tree))
    keep(folder, "layer_0/attn.w", matrix)
    keep(folder, "final_norm.scale", scale)
    # Not read, and larger than the rest.
    for name in ["_CHECKPOINT_METADATA", "commit_success.txt", "_sharding", "array_metadatas"]:
        extra = os.path.join(path, name)
        shutil.rmtree(extra) if os.path.isdir(extra) else os.path.exists(extra) and os.remove(extra)

for name, location, inner in [("end", "end", [2, 3]), ("start", "start", [4, 2])]:
    values = random.standard_normal((10, 13)).astype(np.float32)
    codecs = [{"name": "bytes", "configuration": {"endian": "little"}}]
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "ocdbt", "base": f"file://{os.getcwd()}/shards/", "path": f"{name}/"},
        "metadata": {
            "shape": [10, 13],
            "data_type": "float32",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [4, 6]}},
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": inner,
                        "codecs": codecs + ([{"name": "zstd"}] if name == "end" else []),
                        "index_codecs": codecs + ([{"name": "crc32c"}] if name == "end" else []),
                        "index_location": location,
                    },
                }
            ],
        },
        "create": True,
    }
    ts.open(spec).result().write(values).result()
    keep("shards", name, values)

for name, encoding in [("v2", {"name": "v2", "configuration": {"separator": "/"}}), ("point", {"name": "default"})]:
    values = random.standard_normal((3, 5) if name == "v2" else ()).astype(np.float32)
    spec = {
        "driver": "zarr3",
        "kvstore": {"driver": "ocdbt", "base": f"file://{os.getcwd()}/shards/", "path": f"{name}/"},
        "metadata": {
            "shape": values.shape,
            "data_type": "float32",
            "chunk_key_encoding": encoding,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2] if name == "v2" else []}},
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        },
        "create": True,
    }
    ts.open(spec).result().write(values).result()
    keep("shards", name, values)

with open("values.json", "w") as file:
    json.dump(found, file, indent=1)
    file.write("\n")
