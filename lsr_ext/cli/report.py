"""`lsr report`."""

from __future__ import annotations

from lsr_ext.cli.run_options import ConfigPath, DataFolder, OutputFolder, Seed, load_run


def report_command(
    config: ConfigPath, data: DataFolder = None, output: OutputFolder = None, seed: Seed = None
) -> None:
    """Write scores, pictures and settings of an evaluated run into one page: OUTPUT/report.html."""
    from lsr_ext.report import write_report

    print(write_report(load_run(config, data, output, seed)))
