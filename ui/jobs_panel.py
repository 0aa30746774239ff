"""Jobs of a collection on the page "Documents": how far they are, what came of them, stop and run again."""

import re
from functools import partial
from typing import Any

import streamlit as st

from rag.errors import RagError
from rag.settings import Settings
from ui import jobs, notices
from ui.jobs import Job
from ui.words import Words

_EVERY = 1.0  # seconds between two looks at jobs at work
_ENDED = 3  # ended jobs that are shown
_PASSAGES = re.compile(r" \((\d+)/(\d+) passages\)$")
_DOWNLOADED = 500_000_000  # bytes; more does not go through the memory of server and browser


def show(settings: Settings, t: Words) -> None:
    """Draw the jobs; those at work go on being drawn by themselves."""
    found = jobs.jobs(settings.home, settings.collection)
    busy = any(job.is_alive for job in found)
    st.session_state["documents-jobs"] = _signature(found)
    st.fragment(_show, run_every=_EVERY if busy else None)(settings, t)


def _signature(found: list[Job]) -> list[tuple[Any, ...]]:
    """What changes when the documents may have changed."""
    return [(job.id, job.state, job.report) for job in found]


def _show(settings: Settings, t: Words) -> None:
    try:
        found = jobs.jobs(settings.home, settings.collection)
    except RagError as error:  # drawn by itself, it is outside what the page catches
        notices.problem(str(error))
        return
    if _signature(found) != st.session_state.get("documents-jobs"):
        st.rerun()  # of the whole page: its list of documents is out of date
    alive = [job for job in reversed(found) if job.is_alive]
    ended = [job for n, job in enumerate(found) if _is_news(job, is_latest=n == 0)]
    for job in alive:
        _at_work(settings, job, t)
    for job in ended[:_ENDED]:
        _ended(settings, job, t)


def _is_news(job: Job, is_latest: bool) -> bool:
    """Whether somebody should see what came of a job: what asks for a hand, exports, and the latest of all else."""
    if job.is_alive or (job.kind == "watch" and job.state == "stopped"):
        return False
    return is_latest or job.kind == "export" or job.state != "done"


def _at_work(settings: Settings, job: Job, t: Words) -> None:
    """A job with its bar, what is at hand, and a button that stops it."""
    with st.container(border=True, key=f"documents-job-{job.id}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(_title(job, t), width="stretch")
            st.button(
                t("documents-stop"),
                key=f"documents-stop-{job.id}",
                disabled=job.state == "stopping",
                on_click=partial(notices.guarded, partial(jobs.stop, settings.home, job.id)),
            )
        if job.state == "running" and job.total:
            st.progress(min(job.done / job.total, 1.0))
        if job.state == "running" and job.now:
            notices.quiet(_now(job.now, t))
        if job.problem:
            notices.problem(job.problem)


def _title(job: Job, t: Words) -> str:
    if job.state != "running":
        return t("documents-job-stopping") if job.state == "stopping" else t("documents-job-waiting")
    percent = f"{100 * job.done // job.total} %" if job.total else ""
    titles = {
        "sync": t("documents-job-sync"),
        "retry": t("documents-job-sync"),
        "watch": t("documents-job-adding") if job.now else t("documents-job-watch"),
        "reembed": t("documents-job-reembed"),
        "export": t("documents-job-export"),
    }
    return f"{titles[job.kind]} {percent}"


def _now(now: str, t: Words) -> str:
    """What is at hand, in the reader's language."""
    found = _PASSAGES.search(now)
    if not found:
        return now
    passages = t("documents-now-passages", done=found[1], all=found[2])
    return f"{now[: found.start()]} {passages}"


def _ended(settings: Settings, job: Job, t: Words) -> None:
    """What came of a job, until somebody has seen it."""
    with st.container(border=True, key=f"documents-job-{job.id}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(_outcome(job, t), width="stretch")
            if job.kind == "export" and job.state == "done":
                _download(settings, job, t)
            if job.state != "done":
                st.button(
                    t("documents-again"),
                    key=f"documents-again-{job.id}",
                    on_click=lambda: notices.guarded(lambda: _again(settings, job)),
                )
            st.button(
                t("documents-dismiss"),
                key=f"documents-dismiss-{job.id}",
                type="tertiary",
                on_click=partial(notices.guarded, partial(jobs.forget, settings.home, job.id)),
            )
        if job.problem:
            notices.problem(job.problem)


def _outcome(job: Job, t: Words) -> str:
    if job.state != "done":
        known = {"failed": t("documents-job-failed"), "stopped": t("documents-job-stopped")}
        return known.get(job.state, t("documents-job-interrupted"))
    report = job.report or {}
    if job.kind == "export":
        return t("documents-job-exported", size=f"{report.get('size', 0) / 1e6:,.1f}")
    if job.kind == "reembed":
        return t("documents-job-reembedded", passages=report.get("passages", 0))
    counts = [
        t("documents-count-added", n=report["added"]) if report.get("added") else "",
        t("documents-count-changed", n=report["changed"]) if report.get("changed") else "",
        t("documents-count-moved", n=report["moved"]) if report.get("moved") else "",
        t("documents-count-removed", n=report["removed"]) if report.get("removed") else "",
        t("documents-count-passages", n=report["passages"]) if report.get("passages") else "",
        t("documents-count-not-read", n=report["not_read"]) if report.get("not_read") else "",
    ]
    said = " · ".join(filter(None, counts))
    return said or t("documents-job-nothing-new", n=report.get("unchanged", 0))


def _download(settings: Settings, job: Job, t: Words) -> None:
    file = jobs.export_file(settings.home, job.id)
    if not file.is_file() or file.stat().st_size > _DOWNLOADED:
        notices.quiet(t("documents-export-too-large", name=settings.collection))
        return
    st.download_button(
        t("documents-download"),
        file.read_bytes,  # only when it is asked for
        f"{job.collection}.openbook",
        "application/octet-stream",
        key=f"documents-download-{job.id}",
        on_click="ignore",
        type="primary",
    )


def _again(settings: Settings, job: Job) -> None:
    jobs.again(settings, job)
