"""What was measured: a case beside its floor, one line each."""

import statistics

HEADER = "%-34s %10s %9s %9s %7s %11s %9s" % ("case", "rows", "floor s", "retlfs s", "ratio", "rows/s", "peak RSS")


def result(case, beside, rows, samples, notes):
    """The medians of samples["floor"] and samples["retlfs"], with all that was noted."""
    seconds, floor = statistics.median(samples["retlfs"]), statistics.median(samples["floor"])
    return {"case": case, "rows": rows, "floor": round(floor, 4), "beside": beside, "seconds": round(seconds, 4),
            "ratio": round(seconds / floor, 3), "rows_per_second": round(rows / seconds), "samples": samples, **notes}


def show(result):
    print("%-34s %10d %9.3f %9.3f %7.2f %11s %9s" % (
        result["case"], result["rows"], result["floor"], result["seconds"], result["ratio"],
        "%d" % result["rows_per_second"], "%.1f MiB" % (result["peak_rss_kib"] / 1024)), flush=True)
    if "state_ratio" in result:
        print("%-34s %10d   %.2f of the rows as COPY text" % ("  state on disk", result["rows"], result["state_ratio"]),
              flush=True)
