"""Databases as TensorStore 0.1.85 writes them: python make.py, in this folder, which must hold nothing else.

Every one begins with an empty version, as all of TensorStore's do. Nodes are kept small, so that a
few keys make a tree. Names of files, ids and times differ from run to run.
"""

import hashlib
import json
import os

import numpy as np
import tensorstore as ts

DATABASES = {
    "interior": {"compression": None, "max_decoded_node_bytes": 400, "max_inline_value_bytes": 16},
    "high": {"max_decoded_node_bytes": 150, "max_inline_value_bytes": 31},
    "numbered": {"compression": None, "max_decoded_node_bytes": 400, "manifest_kind": "numbered"},
}
KEYS = {"interior": 40, "high": 40, "numbered": 20}

found = {}
for name, config in DATABASES.items():
    spec = {"driver": "ocdbt", "base": f"file://{os.getcwd()}/{name}/", "config": config}
    store = ts.KvStore.open(spec).result()
    random = np.random.default_rng(0)
    transaction = ts.Transaction()
    for i in range(KEYS[name]):
        key = f"layer_{i % 7}/attn/k{i:04d}"
        store.with_transaction(transaction).write(key, random.bytes(30 + i % 5)).result()
    transaction.commit_async().result()
    found[name] = {
        key.decode(): hashlib.sha256(store.read(key).result().value).hexdigest()
        for key in store.list().result()
    }
with open("values.json", "w") as file:
    json.dump(found, file, indent=1, sort_keys=True)
    file.write("\n")
