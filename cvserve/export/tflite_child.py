"""Runs as the child process of `cvserve.export.tflite`.

python -m cvserve.export.tflite_child SAVED_MODEL OUTPUT SIGNATURE...
"""

from __future__ import annotations

import re
import sys
from pathlib import Path


def main(saved_model: str, output: str, *signatures: str) -> int:
    """Converts the signatures, or prints one line that starts with "cvserve:" with the reason why it cannot."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=list(signatures))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    try:
        content = converter.convert()
    except Exception as error:  # noqa: BLE001  (the converter raises its own kinds, and some plain Exceptions)
        operations = sorted(set(re.findall(r"'(tf\.\w+)' op is neither a custom op nor a flex op", str(error))))
        reason = f"it has no operation {', '.join(operations)}" if operations else " ".join(str(error).split())[:300]
        print(f"cvserve: {reason}", file=sys.stderr)
        return 1
    Path(output).write_bytes(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
