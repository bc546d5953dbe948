"""The workload of `cargo bench --bench scale` in NumPy and usearch: peers.py VECTORS.f32 QUERIES.f32 DIM.

Needs `pip install numpy usearch`. Two threads, as many as the figures beside them are stated for.
"""

import os
import sys
import time

import numpy as np
from usearch.index import Index

K = 10
THREADS = 2


def resident_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024


def percentile(times, share):
    return sorted(times)[int(len(times) * share)] * 1e3


def main(vectors_path, queries_path, dim):
    vectors = np.memmap(vectors_path, np.float32, "r").reshape(-1, dim)
    queries = np.fromfile(queries_path, np.float32).reshape(-1, dim)

    # In blocks, so that a million vectors need not fit into memory; timed as one scan.
    norms = np.concatenate([np.einsum("ij,ij->i", part, part) for part in blocks(vectors)])
    truth, times = [], []
    for query in queries[: 20 if len(vectors) > 200_000 else None]:
        began = time.perf_counter()
        squared = norms - 2 * np.concatenate([part @ query for part in blocks(vectors)])
        truth.append(set(np.argpartition(squared, K)[:K].tolist()))
        times.append(time.perf_counter() - began)
    print(f"{'NumPy L2, f32: query p50':44} {percentile(times, 0.5):9.3f} ms")

    for dtype in ("i8", "f16"):
        # i8 in usearch scales each vector to length 1, so it is a cosine index; f16 is asked for the same.
        index = Index(ndim=dim, metric="cos", dtype=dtype)
        before, began = resident_mb(), time.perf_counter()
        for start in range(0, len(vectors), 10_000):
            part = np.ascontiguousarray(vectors[start : start + 10_000])
            index.add(np.arange(start, start + len(part)), part, threads=THREADS)
        build = time.perf_counter() - began
        times, found = [], 0
        exact = cosine_truth(vectors, norms, queries[: len(truth)])
        for place, query in enumerate(queries):
            began = time.perf_counter()
            keys = index.search(query, K, threads=THREADS).keys
            times.append(time.perf_counter() - began)
            if place < len(exact):
                found += len(exact[place] & set(int(key) for key in keys))
        name = f"usearch HNSW {dtype}, cosine"
        print(f"{name + ': build':44} {build * 1e3:9.1f} ms")
        print(f"{name + ': memory of the index':44} {index.memory_usage / 2**20:9.1f} MB")
        print(f"{name + ': resident memory more':44} {resident_mb() - before:9.1f} MB")
        print(f"{name + ': query p50':44} {percentile(times, 0.5):9.3f} ms")
        print(f"{name + ': query p99':44} {percentile(times, 0.99):9.3f} ms")
        print(f"{name + f': recall@{K}':44} {found / (K * len(exact)):12.4f}", flush=True)


def blocks(vectors, rows=50_000):
    return (vectors[start : start + rows] for start in range(0, len(vectors), rows))


def cosine_truth(vectors, norms, queries):
    cosines = np.concatenate([part @ queries.T for part in blocks(vectors)]) / np.sqrt(norms)[:, None]
    return [set(column.tolist()) for column in np.argpartition(-cosines, K, axis=0)[:K].T]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", str(THREADS))
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
