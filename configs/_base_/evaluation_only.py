"""Evaluation without training, with manual prompts: the class name, and templates."""
_base_ = 'runtime.py'

test_cfg = dict(
    type='ZeroShotLoop', prompts=dict(name='{}', templates='clip_kinetics700'))
val_cfg = val_evaluator = None
