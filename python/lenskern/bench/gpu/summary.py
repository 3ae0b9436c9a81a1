"""The summary of a run: each figure beside what the device can do, what was expected and what it was before."""

from lenskern.bench import report
from lenskern.bench.deflect import FLOPS_PER_PAIR
from lenskern.bench.gpu import expected


def text(records):
    """All tables.

    Parameters
    ----------
    records : list of dict
        Of one file.

    Returns
    -------
    str
    """
    rates = _rates(records)
    parts = [_verdict(records), _parity(records), _ceilings(records)]
    for part, title in (
        ("nnls", "Inversions"),
        ("deflect", "Sums over haloes"),
        ("simulate", "Images"),
        ("convolve", "Convolution"),
    ):
        parts.append(_race(title, [r for r in records if r["part"] == part], rates))
    parts.append(_unmeasured(records))
    if any(r["part"] in ("nnls", "deflect", "simulate", "convolve") and r["median_s"] for r in records):
        parts.append(
            "time: median of a call, synchronised; slower: than lenskern's fastest kernel; floor: of the operations\n"
            "needed, at the rates measured here; expected: by the cost model, on an H200; before: in the run that\n"
            "this one replaced."
        )
    return "\n\n".join(filter(None, parts))


def _verdict(records):
    """A sentence: is all well."""
    counts = {
        status: sum(r["status"] == status for r in records) for status in ("right", "wrong", "failed", "left out")
    }
    words = [f"{counts['right']} programs agree with the reference", f"{counts['wrong']} do not"]
    words += [f"{counts['failed']} failed"] + ([f"{counts['left out']} cases left out"] if counts["left out"] else [])
    dry = "DRY RUN on the CPU: no figure means anything. " if any(r.get("dry_run") for r in records) else ""
    device = next((r["device"]["model"] for r in records), "nothing was run")
    return f"{dry}{device}: {', '.join(words)}."


def _parity(records):
    rows = []
    groups = {}
    for r in records:
        if r["part"] == "parity":
            groups.setdefault(r["case"], []).append(r)
    for case, group in groups.items():
        errors = [r["max_abs_err"] / r["tolerance"] for r in group if r["max_abs_err"] is not None and r["tolerance"]]
        counts = [sum(r["status"] == status for r in group) for status in ("right", "wrong", "failed", "absent")]
        rows.append([case, *counts, f"{max(errors):.2g}" if errors else None])
    columns = ("<against the reference", "right", "wrong", "failed", "absent", "worst error/tolerance")
    return report.table(columns, rows) if rows else None


def _ceilings(records):
    rows = []
    for r in records:
        measured = next(((field, r[field]) for field in ("flops", "bytes_per_s", "step_s") if r.get(field)), None)
        if r["part"] not in ("ceilings", "parity") or measured is None:
            continue
        n = f"n = {r['n']}" if r.get("n") else ""
        found = expected.ceiling(r)
        rows.append(
            [
                r.get("program") or f"{r['system']} {r['backend']}",
                r["dtype"],
                n,
                report.seconds(r["median_s"]),
                _amount(*measured),
                _amount(*found) if found else None,
            ]
        )
    columns = ("<what the device can do", "<dtype", "<size", "time", "measured", f"expected of an {expected.DEVICE}")
    return report.table(columns, rows) if rows else None


def _amount(field, value):
    if field == "flops":
        return f"{value / 1e12:.3g} TFLOP/s"
    return f"{value / 1e9:.4g} GB/s" if field == "bytes_per_s" else report.seconds(value)


def _race(title, records, rates):
    measured = [r for r in records if r["median_s"]]
    if not measured:
        return None
    rows = []
    for r in measured:
        mine = [m["median_s"] for m in measured if m["case"] == r["case"] and _kernel(m) and m["dtype"] == r["dtype"]]
        floor, wanted = floor_seconds(r, rates), expected.expectation(r)
        rows.append(
            [
                r["case"],
                f"{r['system']} {r['backend']}",
                r["dtype"],
                None if r.get("tol") is None else f"{r['tol']:g}",
                report.seconds(r["median_s"]),
                report.seconds(r["median_s"] / r["batch"]) if r["batch"] else None,
                f"{r['median_s'] / min(mine):.3g}" if mine else None,
                _outcome(r),
                report.seconds(floor),
                f"{floor / r['median_s']:.1%}" if floor else None,
                f"{report.seconds(wanted.low)} to {report.seconds(wanted.high)}" if wanted else None,
                report.seconds(r.get("previous_s")),
            ]
        )
    columns = ["<case", "<system", "<dtype", "tol", "time", "a lane", "slower", "error", "floor", "of floor"]
    columns += [f"expected of an {expected.DEVICE}", "before"]
    # Columns that say nothing here are left out.
    kept = [i for i in range(len(columns)) if any(row[i] is not None for row in rows)]
    return f"{title}\n{report.table([columns[i] for i in kept], [[row[i] for i in kept] for row in rows])}"


def _kernel(record):
    """Whether a record is of a kernel of lenskern, not of the reference."""
    return record["system"] == "lenskern" and record["backend"] != "reference"


def _outcome(record):
    """The error; of inversions relative, with how many lanes were solved, of images how many there are in a second."""
    if record.get("images_per_s"):
        return f"{record['images_per_s']:.3g} images/s"
    if record.get("solved") is not None:
        return f"{report.error(record['max_rel_err'])}, {record['solved']}/{record['batch']} solved"
    return None if record["max_abs_err"] is None else report.error(record["max_abs_err"])


def _rates(records):
    """flop/s by backend and dtype, as far as they were measured: "gemm", of products, and "fma", of the cores."""
    ceilings = [r for r in records if r["part"] == "ceilings" and r.get("flops")]
    return {(r["backend"], r["dtype"]): r["flops"] for r in ceilings}


def floor_seconds(record, rates):
    """Least time of the operations of a record: solves at the rates of matrix products, sums at those of the cores.

    Parameters
    ----------
    record : dict
    rates : dict of (str, str) to float
        See `_rates`.

    Returns
    -------
    float or None
        None where the operations or the rates are not known.
    """
    single, double = rates.get(("gemm", "float32")), rates.get(("gemm", "float64"))
    if record.get("single_flops") and single and double:
        return record["single_flops"] / single + record["double_flops"] / double
    direct = record["system"] == "lenskern" and record.get("tol") == 0 and record.get("kind") != "gradient"
    rate = rates.get(("fma", record["dtype"]))
    return FLOPS_PER_PAIR * record["pairs"] / rate if direct and rate and record.get("pairs") else None


def _unmeasured(records):
    """What is wrong, failed or is not there, with the reasons; the same reason once."""
    lines = {}
    for r in records:
        if r["status"] in ("measured", "right"):
            continue
        if r["status"] == "wrong":
            why = f"error {report.error(r['max_abs_err'])}, tolerance {r['tolerance']:.0e}"
        else:
            why = r["reason"]
        what = " ".join(filter(None, (r["system"], r["backend"], r["dtype"] if r["status"] != "absent" else None)))
        place = f"{r['part']}, {r['case']}" + (f", {r['program']}" if r.get("program") else "")
        lines.setdefault((r["status"], what if r["system"] != "all" else "", why), []).append(place)
    order = ("wrong", "failed", "left out", "absent")
    found = []
    for (status, what, why), places in sorted(lines.items(), key=lambda item: order.index(item[0][0])):
        where = places[0] + (f" and {len(places) - 1} more" if len(places) > 1 else "")
        found.append(f"{status.upper() if status in ('wrong', 'failed') else status}: {what} ({where}): {why}")
    return "\n".join(found)
