"""Bad input ends every benchmark with one message and code 2."""

from collections.abc import Callable

import pytest

from benchmarks import bench, bench_gpu, bench_rows, model_table

ON_CPU = ["--device", "cpu", "--scale", "smoke"]


@pytest.mark.parametrize(
    ("main", "arguments", "word"),
    [
        (bench.main, ["--scale", "nowhere"], "nowhere"),
        (bench.main, ["--methods", "x"], "x"),
        (bench.main, ["--steps", "0"], "steps"),
        (bench_gpu.main, [*ON_CPU, "--batch", "0"], "--batch"),
        (bench_gpu.main, [*ON_CPU, "--size", "32"], "--size"),
        (bench_gpu.main, ["--device", "cpu", "--scale", "x"], "x.yaml"),
        (bench_rows.main, ["--rows", "0"], "rows"),
        (model_table.main, ["--tables", "table99"], "table99"),
    ],
)
def test_bad_input_ends_with_one_message_and_code_2(
    main: Callable[[list[str]], int], arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse
        code = end.code
    assert code == 2 and word in capsys.readouterr().err
