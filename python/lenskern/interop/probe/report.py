"""A probe's report as text and as JSON."""

from ...bench.report import record, seconds, table

__all__ = ["records", "table_of", "text"]


def text(report):
    """The report for the terminal.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
    """
    parts = [
        f"{report.unknowns} unknowns, {report.batch} lanes, on {report.device}",
        _times(report),
        "ratio: time of a vmapped lane over that of a single call; memory: arguments + results + temporaries",
        _contents(report),
        _verdict(report),
    ]
    return "\n\n".join(parts)


def records(report, label="likelihood", solver="autoarray"):
    """The report as records of a benchmark, one for each program.

    Parameters
    ----------
    report : Report
    label : str
        Of the likelihood.
    solver : str
        The package of the positive-only solver.

    Returns
    -------
    list of dict
        See `lenskern.bench.report.record`.
    """
    found = []
    for batch, programs in ((1, report.single), (report.batch, report.vmapped)):
        for name, program in programs.items():
            found.append(
                record(
                    benchmark="probe",
                    case=label,
                    step=name,
                    system=solver,
                    dtype="float64",
                    batch=batch,
                    median_s=program.seconds,
                    max_rel_err=report.max_difference,
                    unknowns=report.unknowns,
                    memory=program.memory,
                    loops=program.contents.loops,
                    branches=program.contents.branches,
                    callbacks=program.contents.callbacks,
                    backward=list(program.contents.backward),
                    custom_calls=_calls(program.contents.custom_calls),
                    cuda=program.cuda if isinstance(program.cuda, str) else _calls(program.cuda),
                    statistics={key: value.tolist() for key, value in report.statistics.items()},
                )
            )
    return found


def table_of(records):
    """The records of some probes as tables, for the page of the benchmarks.

    Parameters
    ----------
    records : list of dict

    Returns
    -------
    str
    """
    parts = []
    for key in dict.fromkeys((r["case"], r["system"]) for r in records):
        here = [r for r in records if (r["case"], r["system"]) == key]
        rows = []
        for one in (r for r in here if r["batch"] == 1):
            (many,) = [r for r in here if r["step"] == one["step"] and r["batch"] > 1]
            lane = many["median_s"] / many["batch"]
            rows.append(
                [
                    one["step"],
                    seconds(one["median_s"]),
                    seconds(many["median_s"]),
                    seconds(lane),
                    f"{lane / one['median_s']:.2f}",
                    many["loops"],
                    many["callbacks"],
                    ", ".join(many["backward"]) or "none",
                    _megabytes(one["memory"]),
                    _megabytes(many["memory"]),
                ]
            )
        last = here[-1]
        said = "; ".join(f"{name} {', '.join(map(str, values))}" for name, values in last["statistics"].items())
        title = f"{key[0]}, solver of {key[1]}: {last['unknowns']} unknowns, {last['batch']} lanes; {said}"
        columns = [
            "<step",
            "single",
            "vmapped",
            "a lane",
            "ratio",
            "loops",
            "callbacks",
            "backward",
            "memory",
            "vmapped",
        ]
        parts.append(f"{title}\n{table(columns, rows)}")
    return "\n\n".join(parts)


def _times(report):
    rows = []
    for name, single in report.single.items():
        vmapped = report.vmapped[name]
        rows.append(
            [
                name,
                seconds(single.seconds),
                seconds(vmapped.seconds),
                seconds(vmapped.seconds / report.batch),
                f"{report.ratios[name]:.2f}",
                _megabytes(single.memory),
                _megabytes(vmapped.memory),
            ]
        )
    return table(["<step", "single", "vmapped", "a lane", "ratio", "memory", "vmapped"], rows)


def _megabytes(memory):
    return None if memory is None else " + ".join(f"{memory[k] / 1e6:.1f}" for k in memory) + " MB"


def _contents(report):
    lines = []
    for mode, programs in (("single", report.single), ("vmapped", report.vmapped)):
        for name, program in programs.items():
            c = program.contents
            lines.append(
                f"{name}, {mode}: {c.loops} while loops, {c.branches} conditionals, {c.callbacks} host callbacks; "
                f"backward machinery: {', '.join(c.backward) or 'none'}"
            )
            lines += [f"    {line}" for line in _calls(c.custom_calls)]
            if isinstance(program.cuda, str):
                lines.append(f"    lowered for CUDA: {program.cuda}")
            else:
                lines += [f"    lowered for CUDA: {line}" for line in _calls(program.cuda)]
    return "\n".join(lines)


def _calls(counter):
    return [f"{count} x {target} {shape}".rstrip() for (target, shape), count in sorted(counter.items())]


def _verdict(report):
    worst = max((name for name in report.ratios if name in ("set-up", "nnls", "evidence")), key=report.ratios.get)
    lines = [
        f"A vmapped lane takes {report.ratios['whole likelihood']:.2f} of a single call; of the steps, {worst} "
        f"({report.ratios[worst]:.2f}) is the worst."
    ]
    for name, values in report.statistics.items():
        lines.append(f"{name} of the lanes: {', '.join(map(str, values.tolist()))}")
    if report.lockstep is not None:
        lines.append(f"Lanes wait for the slowest one: {report.lockstep:.2f} times the iterations that they need.")
    frozen = "set-up, callbacks frozen"
    if frozen in report.single:
        parts = [
            f"{(programs['set-up'].seconds - programs[frozen].seconds) / count * 1e3:.2f} ms {mode}"
            for mode, programs, count in (("single", report.single, 1), ("a lane", report.vmapped, report.batch))
        ]
        lines.append(f"Host callbacks: {', '.join(parts)}, the set-up's time less that with their results frozen.")
    lines.append(f"Largest relative difference of a vmapped lane from the same one alone: {report.max_difference:.0e}")
    return "\n".join(lines)
