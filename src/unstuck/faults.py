"""`FAULTS`: what can be wrong with a network that does not learn, each with its symptom, cause, cure and page.

The one table of them. `diagnose` finds them, `clinic` plants them, the book's symptom index prints them.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Fault:
    """One thing that can be wrong.

    `symptom` is what one sees, `cause` what is behind it, `cure` the smallest change, each a phrase that may begin a
    sentence; `page` is the file in the book that explains it.
    """

    symptom: str
    cause: str
    cure: str
    page: str


_DATA = {
    "inputs_not_finite": Fault(
        "The loss is NaN from the first step.",
        "the inputs hold NaN or infinite values",
        "find the broken examples, and drop or repair them before training",
        "11c_nan",
    ),
    "inputs_constant": Fault(
        "The loss falls to that of guessing and stays there.",
        "all examples of the batch are the same, so the inputs carry no information",
        "look at what the loader returns: the cause is there",
        "11_debugging",
    ),
    "inputs_not_scaled": Fault(
        "Training is slow, or the loss is huge or NaN at ordinary learning rates.",
        "the inputs are far larger or smaller than 1, or of very different sizes",
        "standardise them with the mean and standard deviation of the training part",
        "05d_units",
    ),
    "inputs_not_centred": Fault(
        "Only small learning rates work, and with them training is slow.",
        "the inputs lie far from zero, compared with their spread",
        "subtract the mean of the training part",
        "05_preprocessing",
    ),
    "labels_out_of_range": Fault(
        "An error about the target, or a loss that makes no sense.",
        "some labels are no class that the network's outputs can name",
        "number the classes from 0, and give the network one output for each",
        "11_debugging",
    ),
    "labels_wrong_shape": Fault(
        "The loss falls to that of predicting the mean and stays there.",
        "outputs and labels have different shapes, and the loss broadcasts one against the other",
        "give both the same shape, for instance with squeeze(1) or unsqueeze(1)",
        "11_debugging",
    ),
    "labels_shuffled": Fault(
        "The training loss falls slowly, the validation loss does not fall at all.",
        "the labels have nothing to do with the inputs",
        "check that inputs and labels are shuffled together, and look at some pairs",
        "11_debugging",
    ),
    "labels_imbalanced": Fault(
        "The accuracy looks good, and the network names one class only.",
        "nearly all labels are of one class",
        "compare with the share of that class; weight the loss or draw the classes evenly",
        "11_debugging",
    ),
}
_OUTPUT = {
    "softmax_before_loss": Fault(
        "The loss falls slowly and stays well above zero.",
        "the outputs are probabilities already, and the loss applies a softmax again",
        "return the logits, without softmax",
        "11_debugging",
    ),
    "sigmoid_before_loss": Fault(
        "The loss falls slowly and stays well above zero.",
        "the outputs went through a sigmoid already, and the loss applies one again",
        "return the logits, without sigmoid, or use the loss for probabilities",
        "11_debugging",
    ),
    "sigmoid_missing": Fault(
        "The loss is NaN, negative or an error.",
        "the loss expects probabilities, and the outputs are not between 0 and 1",
        "use the loss for logits, or put a sigmoid after the last layer",
        "11_debugging",
    ),
    "relu_at_output": Fault(
        "The loss stays near that of guessing, and many outputs are exactly zero.",
        "an activation after the last layer cuts the outputs off at zero",
        "let the last layer be linear",
        "11_debugging",
    ),
    "squashed_output": Fault(
        "The loss stops at a value far above zero.",
        "an activation after the last layer bounds the outputs, and the targets lie outside its range",
        "let the last layer be linear, or scale the targets into the range",
        "11_debugging",
    ),
    "single_output": Fault(
        "The loss is exactly zero, or the accuracy that of one class.",
        "the network has one output for several classes",
        "give it one output for each class, or use the loss for two classes",
        "11_debugging",
    ),
    "loss_unfit": Fault(
        "The network trains, and its accuracy is poor.",
        "the loss does not fit the task",
        "use cross-entropy for classes, squared error for numbers",
        "11_debugging",
    ),
    "loss_summed": Fault(
        "The loss is large, grows with the batch, and only tiny learning rates work.",
        "the loss is summed over the batch, so the learning rate is multiplied by the batch size",
        "take the mean",
        "11_debugging",
    ),
    "first_loss_high": Fault(
        "The first loss is far above ln K.",
        "the outputs are too large before training: the network is sure, and wrong",
        "make the last layer's initial weights smaller, or scale the inputs",
        "01_stuck",
    ),
    "targets_not_scaled": Fault(
        "The loss is huge, falls slowly or explodes.",
        "the targets are far larger than the outputs that the network starts with",
        "standardise the targets, and undo it in the prediction",
        "05d_units",
    ),
}
_START = {
    "weights_zero": Fault(
        "The loss stays at that of guessing.",
        "the weights of a layer are all zero, so no gradient passes it",
        "draw them at random, with He's scale before ReLU",
        "01_stuck",
    ),
    "weights_equal": Fault(
        "The network learns as if each layer had a single unit.",
        "all units of a layer have the same weights, and get the same gradient for ever",
        "draw the weights at random",
        "06_initialisation",
    ),
    "weights_small": Fault(
        "The loss stays at that of guessing at every learning rate tried.",
        "the initial weights are too small: the signal fades from layer to layer",
        "draw them with He's scale, sqrt(2 / fan-in)",
        "06_initialisation",
    ),
    "weights_large": Fault(
        "The first loss is huge, or the loss is NaN after a few steps.",
        "the initial weights are too large: the signal grows from layer to layer",
        "draw them with He's scale, sqrt(2 / fan-in)",
        "02b_case_b",
    ),
    "inputs_collapse": Fault(
        "All outputs are the same, whatever the input.",
        "the difference between two examples fades on the way through the network",
        "choose the gain at the edge of chaos, normalise, or add residual connections",
        "06b_edge",
    ),
    "gradient_vanishes": Fault(
        "The upper layers train, the lower ones stay as they were.",
        "the gradient fades on its way down to the first layers",
        "use ReLU-like activations with He's start, normalise, or add residual connections",
        "03_activations",
    ),
    "gradient_explodes": Fault(
        "The loss jumps, or is NaN after some steps.",
        "the gradient grows on its way down to the first layers",
        "make the initial weights smaller, normalise, or clip the gradient's norm",
        "06_initialisation",
    ),
    "units_saturated": Fault(
        "The loss stalls, and activations sit at the ends of their range.",
        "most units of a layer are saturated, where the slope is nearly zero",
        "make the weights or the inputs smaller",
        "03_activations",
    ),
    "units_dead_at_start": Fault(
        "Activations are zero for every example, before the first step.",
        "units never fire: their biases or weights put them below zero for every input",
        "start with biases of 0 and He's weights; centre the inputs",
        "04_dead_relus",
    ),
    "units_killed": Fault(
        "Activations become zero for every example, and stay so.",
        "steps that were too large pushed units below zero for every input",
        "lower the learning rate, warm up, or use a leaky activation",
        "04_dead_relus",
    ),
}
_OPTIMISATION = {
    "lr_small": Fault(
        "The loss falls, but hardly.",
        "the learning rate is too small",
        "multiply it by 10 until the loss gets worse, then go back one step",
        "11b_learning_rate",
    ),
    "lr_large": Fault(
        "The loss jumps up and down, or stays where it is.",
        "the learning rate is too large",
        "divide it by 3, and again, until the loss falls",
        "11b_learning_rate",
    ),
    "diverges": Fault(
        "The loss grows without end, or becomes NaN within some steps.",
        "the steps are longer than the curvature of the loss allows (2 / sharpness for plain descent)",
        "divide the learning rate by 3, and again, until the loss stays finite",
        "05c_how_large",
    ),
    "momentum_out_of_range": Fault(
        "The loss swings, grows, or hardly moves.",
        "the momentum or one of Adam's betas is far from its useful range",
        "use momentum 0.9; betas (0.9, 0.999)",
        "11b_learning_rate",
    ),
    "adam_eps": Fault(
        "Adam makes hardly any progress, although gradients are not zero.",
        "the gradients are smaller than Adam's eps, which then sets the step",
        "mend what makes the gradients small; a smaller eps hides it",
        "06_initialisation",
    ),
    "gradients_not_zeroed": Fault(
        "The loss falls at first, then swings or explodes.",
        "gradients add up over the steps, because they are not set to zero between them",
        "call optimizer.zero_grad() once a step, before backward()",
        "11_debugging",
    ),
    "parameters_missing": Fault(
        "The loss hardly moves, or a part of the network never changes.",
        "parameters were not handed to the optimiser",
        "build the optimiser from model.parameters(), after the last change of the model",
        "11_debugging",
    ),
    "parameters_frozen": Fault(
        "The loss hardly moves, or a part of the network never changes.",
        "parameters have requires_grad=False",
        "set requires_grad to True where the layer ought to learn",
        "11_debugging",
    ),
    "parameters_detached": Fault(
        "A part of the network never changes.",
        "parameters are used, but no gradient reaches them: the graph is cut, or its slope is zero",
        "look for detach(), .data, .item(), numpy() or no_grad() on the way to the loss, and for round() or argmax()",
        "11_debugging",
    ),
    "parameters_unused": Fault(
        "A part of the network never changes.",
        "parameters are not used in the forward pass at all",
        "call the layer in forward(), or delete it",
        "11_debugging",
    ),
    "no_step": Fault(
        "The loss is the same after every step.",
        "the training step changes no parameter at all",
        "call backward() and optimizer.step() in the step, in this order",
        "11_debugging",
    ),
    "weight_decay_strong": Fault(
        "Weights shrink, and the loss rises back to that of guessing.",
        "weight decay pulls harder than the gradient",
        "divide the weight decay by 10, and again",
        "11_debugging",
    ),
    "clipping_always": Fault(
        "Training is slow, and the learning rate hardly matters.",
        "the gradient is clipped at nearly every step, far below its usual size",
        "raise the limit above the usual norm, or mend what makes the gradient large",
        "11b_learning_rate",
    ),
}
_LAYERS = {
    "batchnorm_single": Fault(
        "An error, or outputs that hardly depend on the input.",
        "batch normalisation sees too few values of each channel: of one its output is always beta",
        "use larger batches, or layer or group normalisation",
        "07j_small_batches",
    ),
    "batchnorm_mode": Fault(
        "Training works, evaluation is much worse, or training ignores the batch.",
        "batch normalisation runs in the wrong mode",
        "call model.train() before training and model.eval() before evaluation",
        "07b_two_networks",
    ),
    "batchnorm_drift": Fault(
        "Fine in training, wrong in evaluation.",
        "the running statistics of batch normalisation are far from those of the batches",
        "let them settle (more steps, larger momentum), and evaluate on data like the training data",
        "07b_two_networks",
    ),
    "bias_before_norm": Fault(
        "Nothing that one sees.",
        "a bias stands directly before a normalisation, which subtracts it again",
        "leave it out: bias=False",
        "07_batchnorm",
    ),
    "dropout_mode": Fault(
        "The same input gives a different output each time, in evaluation too.",
        "dropout is active in evaluation",
        "call model.eval() before evaluation; pass training=self.training to F.dropout",
        "11_debugging",
    ),
    "dropout_strong": Fault(
        "The training loss stays high, and is far lower in evaluation.",
        "dropout removes most of the signal",
        "lower its probability, below 0.5, and leave it out after the last layer",
        "11_debugging",
    ),
    "examples_mixed": Fault(
        "Results depend on what else is in the batch.",
        "the output of one example depends on the input of another",
        "set batch_first=True in layers that take time before batch; look for view, reshape, softmax or mean over "
        "the batch axis",
        "11_debugging",
    ),
    "cannot_overfit": Fault(
        "Ten examples cannot be learned by heart.",
        "the network, the loss or the step cannot learn even a few examples",
        "simplify until ten examples can be learned; what was removed last is at fault",
        "11_debugging",
    ),
    "capacity_small": Fault(
        "Training and validation loss stop at the same, high value.",
        "the network is too small for the task",
        "make it wider, then deeper",
        "11_debugging",
    ),
    "overfitting": Fault(
        "The training loss falls on, the validation loss rises.",
        "the network learns its training examples by heart",
        "use more data, augmentation, weight decay, or stop earlier",
        "11_debugging",
    ),
}
_NUMBERS = {
    "nan_in_forward": Fault(
        "The loss is NaN.",
        "a module makes NaN or infinite values from finite ones",
        "look at the operation named: a logarithm or root of 0, a division by 0, an exponential that overflows",
        "11c_nan",
    ),
    "nan_in_loss": Fault(
        "The loss is NaN although the outputs are finite.",
        "the loss makes NaN or infinite values from finite outputs",
        "use the loss for logits, or keep its arguments away from 0",
        "11c_nan",
    ),
    "nan_in_backward": Fault(
        "The loss is finite, and the weights are NaN after one step.",
        "the backward pass makes NaN or infinite values from a finite loss",
        "look for a root, norm or division at exactly 0, or a torch.where that hides one",
        "11c_nan",
    ),
    "weights_not_finite": Fault(
        "The loss is NaN before any step.",
        "parameters hold NaN or infinite values",
        "load or draw them again: no step can repair them",
        "11c_nan",
    ),
    "half_overflow": Fault(
        "The loss is NaN in float16 and finite in float32.",
        "values exceed 65,504, the largest that float16 can hold",
        "use bfloat16, or keep this operation in float32",
        "11c_nan",
    ),
    "half_underflow": Fault(
        "In float16 the lower layers do not learn.",
        "gradients are below the smallest number that float16 can hold, and become 0",
        "scale the loss (torch.amp.GradScaler), or use bfloat16",
        "11c_nan",
    ),
    "updates_rounded": Fault(
        "Training stops early in half precision.",
        "updates are smaller than half the spacing of the weights' numbers, and are rounded away",
        "keep the weights in float32, and only compute in half precision",
        "11c_nan",
    ),
}

FAULTS = MappingProxyType(_DATA | _OUTPUT | _START | _OPTIMISATION | _LAYERS | _NUMBERS)
"""Every fault, by its slug."""


def _told(fault: str, **said: str) -> tuple[str, dict[str, str]]:
    return fault, said


_ERROR = "Training stops with an error."
_LOOP = "take the batch of the loop (for x, y in loader); next(iter(loader)) begins the loader anew in each step"
CLOSER = MappingProxyType(
    {
        "labels_alike": _told(
            "labels_imbalanced",
            symptom="The loss falls at once, and the network says the same whatever the input.",
            cause="all labels that were handed over are the same",
            cure="look at what was done to the labels (.long() makes 0 of every number from 0 to 1), and whether "
            "the examples come sorted by class and unshuffled",
        ),
        "labels_sorted": _told(
            "labels_imbalanced",
            cause="nearly all labels of each batch are of one class: the examples come sorted",
            cure="shuffle the examples, so that each batch holds all classes (shuffle=True in the loader)",
        ),
        "rare_weighted_down": _told(
            "labels_imbalanced",
            cause="nearly all labels are of one class, and the loss weights the others down",
            cure="turn the weights of the loss round: they belong to the rare classes (as pos_weight, n_0 / n_1)",
        ),
        "labels_renamed": _told(
            "labels_shuffled",
            cause="the labels of the validation data mean something else than those of training: the classes are "
            "numbered differently, or a sign is turned",
            cure="make the mapping from names to numbers once, from the training data, and use it for the "
            "validation too",
        ),
        "validation_differs": _told(
            "labels_shuffled",
            symptom="The training goes well, and in validation the network guesses.",
            cause="the labels of the validation data do not follow from its inputs as those of the training data do",
            cure="look at how the validation data were made: whether inputs and labels are still pairs, and what was "
            "done to them",
        ),
        "missing_coded": _told(
            "inputs_not_scaled",
            symptom="Hardly anything is learned from inputs that look scaled.",
            cause="a number that stands for what is missing lies far from all others, and sets the scale",
            cure="replace it by the mean of the others before anything is scaled, and add a column that says where "
            "it was missing",
        ),
        "labels_elsewhere": _told(
            "labels_wrong_shape",
            symptom="The loss falls to that of guessing and stays there.",
            cause="the loss reshapes the outputs without moving their axis of the classes, so that each output "
            "meets the label of another place",
            cure="move the axis first: out.movedim(1, -1).reshape(-1, classes), or let cross-entropy take (N, C, T)",
        ),
        "targets_copied": _told(
            "loss_unfit",
            symptom="The loss falls to nearly nothing, and what the network writes repeats one token.",
            cause="the targets are the inputs themselves, not the tokens that follow",
            cure="shift them by one: tokens[:, :-1] are the inputs, tokens[:, 1:] the targets",
        ),
        "targets_seen": _told(
            "loss_unfit",
            symptom="The loss falls to nearly nothing, and what the network writes by itself is poor.",
            cause="each output sees what it is to foretell",
            cure="hide later steps: a causal mask, no second direction",
        ),
        "divergence_of_probabilities": _told(
            "loss_unfit",
            cure="hand the logarithms of the probabilities to a divergence, by log_softmax",
        ),
        "several_labels": _told(
            "loss_unfit",
            cure="several labels may hold for one example: apply a sigmoid to each output, as BCEWithLogitsLoss does",
        ),
        "outputs_too_near": _told(
            "squashed_output",
            cause="the outputs lie so near to each other, whatever the weights, that no softmax of them is sure",
            cure="divide similarities by a temperature (cosines / 0.07) instead of multiplying with it",
        ),
        "outputs_on_one_side": _told(
            "squashed_output",
            cause="the outputs lie on one side, whatever the weights, so that one of the two classes is never named",
            cure="let them go to both sides: sigmoid(b - distance) with a bias b that is learned, or exp(-distance)",
        ),
        "rates_for_logarithms": _told(
            "loss_unfit",
            symptom="The loss falls, and small counts are foretold too high.",
            cause="the loss takes the outputs for logarithms of rates, and the last layer makes them positive",
            cure="leave out what stands after the last layer, or tell the loss that its outputs are rates "
            "(log_input=False)",
        ),
        "loss_turned_round": _told(
            "loss_unfit",
            cause="the loss falls as the outputs go away from the targets",
            cure="look for a turned sign, or min for max, in it",
        ),
        "labels_not_used": _told(
            "loss_unfit",
            symptom="The loss falls to nearly nothing, and the accuracy is that of guessing.",
            cause="the training step does not use the labels that it is handed",
            cure="look for a name that is given anew between the batch and the loss (_, labels = outputs.max(1)); "
            "the loss needs the labels of the batch",
        ),
        "loss_refuses": _told(
            "labels_wrong_shape",
            symptom=_ERROR,
            cause="the loss refuses outputs and labels of these shapes",
        ),
        "loss_refuses_types": _told(
            "loss_unfit",
            symptom=_ERROR,
            cause="the loss refuses outputs and labels of these types",
        ),
        "validation_scaled_otherwise": _told(
            "inputs_not_scaled",
            symptom="The training goes well, and in validation the network is poor or guesses.",
            cause="the validation inputs are scaled in another way than the training inputs",
            cure="scale both with the same numbers, the mean and standard deviation of the training part",
        ),
        "tokens_alike": _told(
            "inputs_constant",
            cause="nearly all tokens are one and the same, so the inputs carry hardly any information",
            cure="look at the tokens that the loader returns: were text and vocabulary made in the same way (upper "
            "case)?",
        ),
        "batch_not_used": _told(
            "inputs_constant",
            symptom="The loss falls, and on other examples the network is poor.",
            cause="the training step does not use the batch that it is handed",
            cure=_LOOP,
        ),
        "batches_alike": _told(
            "inputs_constant",
            symptom="The loss falls, and on other examples the network is poor.",
            cause="every batch holds the same examples",
            cure=_LOOP,
        ),
        "only_padding": _told(
            "inputs_collapse",
            cause="of all tokens only the padding is read: its mask is the wrong way round",
            cure="turn the mask round: True marks what attention is to leave out (src_key_padding_mask = x == 0)",
        ),
        "nothing_arrives": _told(
            "inputs_collapse",
            cause="nothing of the inputs arrives at the outputs",
            cure="look at what the module named is handed: its mask, its values, its place (the last state after "
            "long padding has forgotten)",
        ),
        "norm_of_one": _told(
            "inputs_collapse",
            cause="a layer normalisation over a single feature makes 0 of every value",
            cure="normalise over several features (LayerNorm([steps, 1]) for a series), or leave it out",
        ),
        "no_activation": _told(
            "capacity_small",
            cause="no activation stands between the layers, so that all of them together are one linear layer",
            cure="put an activation after each layer but the last, a ReLU for instance",
        ),
        "layers_unregistered": _told(
            "parameters_missing",
            cause="layers are used that the model does not know, so model.parameters() lacks what they hold",
            cure="hold them in nn.ModuleList or nn.ModuleDict (parameters in nn.ParameterList), not in a list or "
            "dict of Python's, and build the optimiser after that",
        ),
        "schedule_by_batch": _told(
            "lr_small",
            symptom="The loss falls in the first steps, and then stands still.",
            cause="the scheduler lowers the learning rate to nothing within the first steps",
            cure="call scheduler.step() once after each epoch, or give the scheduler the number of all steps",
        ),
        "schedule_from_zero": _told(
            "lr_small",
            cause="a scheduler begins with a learning rate of 0",
            cure="let it begin above 0, as with (epoch + 1) / epochs",
        ),
        "warm_up_long": _told(
            "lr_small",
            cause="a scheduler raises the learning rate so slowly that hardly anything of the training is left",
            cure="shorten the warm-up to some hundred steps, or to a few per cent of all steps",
        ),
        "steps_undone": _told(
            "no_step",
            symptom="The loss falls, but hardly.",
            cause="what the optimiser does is undone: after it the step writes the parameters back nearly to where "
            "they were",
            cure="look at what writes parameters after optimizer.step(): averages of them belong into a model of "
            "their own, for evaluation only",
        ),
        "other_model": _told(
            "no_step",
            cause="the loss is not computed with this model: the step calls another one than the optimiser trains",
            cure="build the model once, before the optimiser, and call the one that the step is handed",
        ),
        "step_raises": _told(
            "no_step",
            symptom=_ERROR,
            cause="the training step raises an error",
            cure="repair the line that the error's traceback ends with",
        ),
        "graph_kept": _told(
            "no_step",
            symptom=_ERROR,
            cause="what one step has computed is used in the next one with its graph: a hidden state, a sum of "
            "losses",
            cure="detach() what is kept from one step to the next",
        ),
        "loss_of_each": _told(
            "no_step",
            symptom=_ERROR,
            cause="the loss is not one number but several, one for each example or output",
            cure="take their mean before backward(): loss.mean(), or reduction='mean' in the loss",
        ),
        "changed_in_place": _told(
            "no_step",
            symptom=_ERROR,
            cause="a tensor that the backward pass needs is changed in place",
            cure="write x = x + y instead of x += y, and leave out inplace=True there",
        ),
        "graph_cut": _told(
            "parameters_detached",
            symptom=_ERROR,
            cause="backward() is called on a loss whose graph is cut",
        ),
        "eps_is_zero": _told(
            "adam_eps",
            symptom="The loss is NaN after one step in half precision.",
            cause="Adam's eps is 0 in the number format of the weights, so that a gradient of 0 is divided by 0",
            cure="keep the weights in float32 (torch.autocast computes in half precision), or choose an eps that "
            "this format can hold (1e-4 in float16)",
        ),
        "never_finite": _told(
            "diverges",
            cause="a step leaves a loss or weights that are not finite, of numbers that all were",
            cure="run find_nan with the weights before that step; look at what the step and its optimiser divide by",
        ),
        "last_batch_of_one": _told(
            "batchnorm_single",
            symptom=_ERROR,
            cause="batch normalisation is handed a batch of one example, which has no variance",
            cure="leave out a last batch of one (drop_last=True in the loader), or use layer or group normalisation",
        ),
    }
)
"""Faults as the evidence may tell them more closely: which one it is, and what is said instead of its row."""

GROUPS = MappingProxyType(
    {
        "data": tuple(_DATA),
        "output and loss": tuple(_OUTPUT),
        "start": tuple(_START),
        "optimisation": tuple(_OPTIMISATION),
        "layers": tuple(_LAYERS),
        "numbers": tuple(_NUMBERS),
    }
)
"""The slugs of `FAULTS`, by what they have to do with."""

_SPELT = {
    "lr": "learning rate",
    "nan": "NaN",
    "adam": "Adam's",
    "batchnorm": "batch norm",
    "half": "half-precision",
    "relu": "ReLU",
}


def in_words(slug: str) -> str:
    """The slug of a fault as a person says it: "learning rate small" for "lr_small"."""
    return " ".join(_SPELT.get(word, word) for word in slug.split("_"))
