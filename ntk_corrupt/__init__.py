"""Finite networks on corrupted images: real data in, trained networks out.

`data` loads problems, `ensembles` trains networks on them; see `theory` for the laws
they are compared with. Modules are imported by name: `from ntk_corrupt import data`.
"""

from theory.renamed import moved

# Modules that stood outside the folders, for one version more.
moved(
    "ntk_corrupt",
    {
        "adversarial": "adversarial_attacks=attacks adversarial_training=descent "
        "adversarial_data=two_classes",
        "clusters": "cluster_training=descent jacobian cluster_theorems=theorems",
        "curves": "resampling=bootstrap scaling=finite_size thresholds=power_law",
        "ensembles": "member_blocks=layout member_programs=programs",
        "kernels": "cnn_kernel=convolutional empirical",
        "label_noise": "label_split=detection stopping",
        "networks": "cnn two_layer",
        "probes": "margins",
        "rbm": "rbm_classifiers=classifiers",
        "spectral": "band_probes segregation",
        "training": "trajectories",
    },
)
