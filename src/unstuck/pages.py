"""`PAGES`: the pages of the book that the package names, with number and title as the website has them.

The package is installed without the book; a test compares this table with book/chapters.yml.
"""

from types import MappingProxyType

PAGES = MappingProxyType(
    {
        "01_stuck": ("1", "Why is my loss stuck at 2.30?"),
        "02b_case_b": ("2b", "Do small weights suit the sigmoid, and large ones ReLU?"),
        "03_activations": ("3", "Why do nine activations learn and the tenth not at all?"),
        "04_dead_relus": ("4", "Why did a third of this layer stop learning?"),
        "05_preprocessing": ("5", "Why does it learn twenty times faster after one subtraction?"),
        "05c_how_large": ("5c", "How large may the learning rate be?"),
        "05d_units": ("5d", "Which scaling do my features and my targets need?"),
        "06_initialisation": ("6", "Why does the signal vanish at layer 8?"),
        "06b_edge": ("6b", "How deep can a well-scaled network be?"),
        "07_batchnorm": ("7", "What exactly does BatchNorm compute?"),
        "07b_two_networks": ("7b", "Why is it fine in training and wrong when evaluated?"),
        "07j_small_batches": ("7j", "How small may BatchNorm's batches be?"),
        "11_debugging": ("11", "It does not learn: where do I start?"),
        "11b_learning_rate": ("11b", "How do I find the learning rate?"),
        "11c_nan": ("11c", "Where did the NaN begin?"),
    }
)
"""Number and title, by the name of the file."""


def page_in_words(name: str) -> str:
    """ "11c, Where did the NaN begin?" for "11c_nan"."""
    return ", ".join(PAGES[name])
