"""Memory-bound building blocks: row gathers, reductions, broadcasts, wide copies."""
