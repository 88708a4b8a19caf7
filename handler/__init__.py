"""Everything a TorchServe worker runs; it travels whole in every model archive.

A request flows one way: bytes → sentence pairs → encoded pairs → probabilities → answers.
"""

import sys


def _keep_openvino_from_reporting_its_use() -> None:
    """Hide `openvino_telemetry`, with which each import of openvino sends an event to Google Analytics.

    openvino and nncf then use stubs of their own. It is done here because every worker and every script that
    imports openvino imports this package first, and a service has no reason to call anybody.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


_keep_openvino_from_reporting_its_use()
