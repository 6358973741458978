"""The runner of exported models; its modules are joined to the file ``predict.py``.

They import each other, NumPy, onnxruntime and the standard library, and no other part of charseq.
"""
