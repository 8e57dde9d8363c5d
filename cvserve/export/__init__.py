"""Networks to artifacts: SavedModel, ONNX and TFLite, each proven equal to the network it came from."""

from cvserve.export.exporter import FORMATS, export_model
from cvserve.export.from_run import export_run
from cvserve.export.import_spec import ImportSpec
from cvserve.export.importer import import_model
from cvserve.export.report import report_rows, report_table

__all__ = ["FORMATS", "ImportSpec", "export_model", "export_run", "import_model", "report_rows", "report_table"]
