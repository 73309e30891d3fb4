import pytest

from workers.experiments.main import EXIT_REFUSED, main


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--threads", "0", "a whole number from 1 on"),
        ("--threads", "-1", "a whole number from 1 on"),
        ("--threads", "two", "a whole number from 1 on"),
        ("--device", "tpu9", "auto, cpu, cuda or cuda:1"),
        ("--device", "cuda:99", "auto, cpu, cuda or cuda:1"),
        ("--device", "", "auto, cpu, cuda or cuda:1"),
    ],
)
def test_threads_or_a_device_that_cannot_be_are_refused(capsys, option, value, allowed):
    command = ["views", "scenes", "--truth", "truth.csv", f"{option}={value}"]

    with pytest.raises(SystemExit) as exit:
        main(command)

    assert exit.value.code == EXIT_REFUSED
    told = capsys.readouterr().err
    assert f"argument {option}: must be {allowed}" in told
    assert f"is {value!r}" in told
