"""One module a framework: `make(workload, batch_size, variant)` gives a step."""
