"""Run folder -> the same model for other programs: ONNX graphs with a small runner, a web page."""
