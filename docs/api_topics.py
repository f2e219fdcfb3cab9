"""The pages of the API reference, and the order of the topics on each."""

MODULES = {
    "lucid_fn": "jit gradients vmap directional jacobians checkpointing",
    "lucid_fn.nn": """
        layer combinators wrappers summary
        linear bilinear convolution transposed_convolution
        pooling adaptive_pooling global_pooling adaptive_pool
        upsampling shuffling padding reshaping
        batch_norm batch_statistics normalization local_response_norm spectral_norm
        dropout alpha_dropout
        embedding positions attention multi_head_attention
        transformer transformer_stacks
        recurrent recurrent_cells scan carry
        rectifiers activations elementary softmax
    """,
    "lucid_fn.nn.initializers": "initializers matrices fans",
    "lucid_fn.ops": """
        conv pool adaptive_pool norm row_norm grouped_norm recurrence
        rectifiers activations elementary softmax cross_entropy formulation
    """,
    "lucid_fn.losses": """
        classification binary regression likelihood margin embedding alignment
    """,
    "lucid_fn.metrics": "hits errors counts streaming",
    "lucid_fn.optim": """
        base momentum adaptive adaptive_variants rectified second_moments
        differences slow_means parameter_free mean_squares
        accumulated_squares sign resilient layerwise layerwise_moments
        factored orthogonal
        quasi_newton minimization scheduleless sharpness
        descent clipping regularization groups injection wrappers averaging
    """,
    "lucid_fn.schedules": "base decay cosine warming cyclic combining plateau",
    "lucid_fn.random": "keys draws",
    "lucid_fn.tree": "structure naming arrays",
    "lucid_fn.data": """
        mnist cifar10 dataset normalization batching prefetching augmentation
    """,
    "lucid_fn.train": "state loop history checkpoint",
    "lucid_fn.models": "lenet resnet",
    "lucid_fn.interop.torch": "torch pt_files files",
    "lucid_fn.interop.compare": "",
    "lucid_fn.plot": "",
    "lucid_fn.testing": "",
    "lucid_fn.cpu.runtime": "startup cores",
    "lucid_fn.doctor": "report check",
    "lucid_fn.types": "",
}
"""One page each, in the order of the index; the files that its topics come from.

Files that are not named come last, in the order of the imports.
"""
