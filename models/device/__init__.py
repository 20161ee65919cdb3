"""Forecasters on a GPU, in the inference process alone: `python -m models.device`. Heavy: loads torch.

Theory of operation. The daemon starts this package instead of `models.worker` where it is told to use a device; it is
the same loop over the same frames, with somebody who computes beside the processor. When models are loaded each
forecaster is put on the device by every way there is (`candidates`), and each way must be let in (`placement`): it
reproduces the artifact's golden outputs on the device, in half precision it also answers as in single precision, and it
is quicker than the processor, which is measured there and then. The quickest that passes serves. A model that no way
suits stays with the processor, and a line says why.

In service the ladder is: the device; where it raises, answers with what is no number, or does not answer in time, the
processor, for that forecast alone, counted by reason; where that fails as well, no forecast, counted too. A device that
is late, or fails three times in a row for one model, loses that model until models are loaded again. A device that
hangs in a way that nothing here can see is found by the parent's deadline, as any child that hangs is.

    rebuilt     a form (arrays and settings) as a torch module, one forward pass from inputs to points and deviations
    runner      that module on a device: buffers that stay where they are, a CUDA graph for each size of batch
    candidates  the ways: the module in single and in half precision, and ONNX Runtime's own CUDA provider
    placement   which way each model takes, and what happens when it fails
    figures     memory and utilisation of the device
"""
