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
        base sgd adam adamax nadam radam adabelief yogi adan ademamix prodigy
        rmsprop adagrad adadelta asgd lion rprop lamb lars novograd adafactor
        muon schedule_free lbfgs sam
        learning_rate hyperparams param_groups clipping regularization wrappers
        param_averages
    """,
    "lucid_fn.schedules": "base decay cosine warmup cyclic combining plateau",
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
    "lucid_fn.runtime": "startup cores",
    "lucid_fn.doctor": "report check",
    "lucid_fn.types": "",
}
"""One page each, in the order of the index; the files that its topics come from.

Files that are not named come last, in the order of the imports.
"""
