"""Many requests to model servers at once: what the `endpoint` generator and the judge share.

It keeps a bounded number of requests open, sends those that share a prompt to the same server, asks again what failed
(`prm.generation.http_policy` says when and after how long), and hands over what is finished while the rest runs on.
What is asked and how an answer is read is the business of an `Exchange`; `prm.generation.http_wire` does one of them.
The event loop runs in a thread of its own, so that it works within notebooks, and the network is not idle while the
caller writes to disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import random
import threading
import time
from collections import Counter, deque
from collections.abc import Coroutine, Generator, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from prm.errors import EndpointError
from prm.generation.http_policy import (
    LONGEST_WAIT_S,
    EndpointSettings,
    FailedAttempt,
    Refusal,
    ServerState,
    backoff_seconds,
    preference,
    root_url,
)
from prm.generation.http_wire import exchange_json, open_session

if TYPE_CHECKING:
    import aiohttp

logger = logging.getLogger(__name__)

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")
ReturnT = TypeVar("ReturnT")


class Exchange(Protocol[JobT, ResultT]):
    """What is asked, and how an answer is read. `path` follows the base URL, such as `/completions`; of an exchange
    with a true attribute `at_root` it follows the URL without its version."""

    path: str

    def affinity(self, job: JobT) -> bytes:
        """Jobs of equal affinity are sent to the same server, while it is up."""
        ...

    def body(self, job: JobT) -> dict[str, Any]:
        """The JSON object to post."""
        ...

    def read(self, job: JobT, answer: Any) -> tuple[list[ResultT], list[JobT]]:
        """What an answer's JSON gave, and the jobs that ask for what it lacks.

        Raises:
            FailedAttempt: it gave nothing; the job is asked again.
        """
        ...


class HttpClient:
    """Asks the servers of `settings`. Each call opens its connections and closes them."""

    def __init__(self, settings: EndpointSettings):
        self.settings = settings

    def stream(self, exchange: Exchange[JobT, ResultT], jobs: Sequence[JobT]) -> Generator[list[ResultT], None, None]:
        """Yield the results of all jobs, in the order in which they are finished: each list holds those that have come
        since the last. Equal jobs are asked as often as they are given.

        Raises:
            EndpointError: a refusal, or a job that failed too often. What is under way then is waited for and yielded
                before.
        """
        if not jobs:
            return
        run = _Run(self.settings, exchange, jobs)
        thread = threading.Thread(target=run.main, name="http", daemon=True)
        thread.start()
        try:
            while not run.ended:
                if results := run.results():
                    yield results
        finally:
            run.cancel()
            thread.join()
        if run.error is not None:
            raise run.error

    def get(self, path: str) -> Any:
        """The JSON behind a path, from the first server that gives it, or `None` where all are up and none does.

        Raises:
            EndpointError: no server can be reached, or one refuses the key.
        """
        return _in_thread(self._get(path))

    def post_once(self, path: str, body: dict[str, Any]) -> int:
        """The HTTP status of one request to the first server; 0 where there is no answer. For finding out why a server
        refuses."""
        return _in_thread(self._post_once(path, body))

    async def _get(self, path: str) -> Any:
        failure: FailedAttempt | None = None
        async with open_session(self.settings) as session:
            for attempt in range(min(3, self.settings.max_retries) + 1):
                for url in self.settings.urls:
                    try:
                        return (await exchange_json(session, "GET", url + path, self.settings))[0]
                    except FailedAttempt as error:
                        failure = error
                    except Refusal as refusal:
                        if refusal.status in (401, 403):
                            raise
                        return None  # not every server tells
                logger.warning("%s: %s; trying again", url + path, failure)
                await asyncio.sleep(min(2.0, backoff_seconds(attempt, self.settings, random.Random())))
        if failure is not None and failure.unreachable:
            raise EndpointError(
                f"{', '.join(self.settings.urls)}: cannot be reached ({failure.detail}). Check the URLs, and "
                "that the server has finished loading its model"
            )
        return None

    async def _post_once(self, path: str, body: dict[str, Any]) -> int:
        async with open_session(self.settings) as session:
            try:
                await exchange_json(session, "POST", self.settings.urls[0] + path, self.settings, body)
                return 200
            except Refusal as refusal:
                return refusal.status
            except FailedAttempt:
                return 0


class _Run(Generic[JobT, ResultT]):
    """One call of `HttpClient.stream`. `main` runs in its thread, `results` and `cancel` are the caller's.

    Each server has a queue of the jobs that prefer it and an equal share of the workers; a worker whose queue is empty
    takes from the end of the longest, so that affinity never leaves a server idle.
    """

    def __init__(self, settings: EndpointSettings, exchange: Exchange[JobT, ResultT], jobs: Sequence[JobT]):
        self.settings, self.exchange = settings, exchange
        self.servers = [ServerState(url) for url in settings.urls]
        self.queues: list[deque[JobT]] = [deque() for _ in self.servers]
        for job in jobs:
            self.queues[self._preference(job)[0]].append(job)
        self.error: BaseException | None = None
        self.ended = False
        self.failures: Counter[str] = Counter()
        self._workers = min(settings.max_concurrency, len(jobs))
        self._out: queue.SimpleQueue[ResultT | _End] = queue.SimpleQueue()
        self._rng = random.Random()  # of waits alone; no result depends on it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def results(self) -> list[ResultT]:
        """Wait for a result; returns it with those that are finished too. Empty at the end."""
        found: list[ResultT] = []
        item = self._out.get()
        while True:
            if isinstance(item, _End):
                self.ended = True
                return found
            found.append(item)
            try:
                item = self._out.get_nowait()
            except queue.Empty:
                return found

    def cancel(self) -> None:
        """End the run now, whatever is under way."""
        self._cancelled = True
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._task.cancel)

    def main(self) -> None:
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # whatever it is, it is the caller's to see
            self.error = self.error or error
        finally:
            self._out.put(_End())

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        if self._cancelled:
            return
        self._ending = asyncio.Event()
        try:
            async with open_session(self.settings) as session:
                homes = (number % len(self.servers) for number in range(self._workers))
                await asyncio.gather(*(self._work(session, home) for home in homes))
        finally:
            if self.failures:
                kinds = ", ".join(f"{kind}: {count}" for kind, count in self.failures.most_common())
                logger.warning("%d requests failed and were asked again (%s)", self.failures.total(), kinds)

    async def _work(self, session: aiohttp.ClientSession, home: int) -> None:
        try:
            while not self._ending.is_set() and (job := self._next_job(home)) is not None:
                await self._finish(session, job)
        except Exception as error:
            self.error = self.error or error
            self._ending.set()

    def _next_job(self, home: int) -> JobT | None:
        if self.queues[home]:
            return self.queues[home].popleft()
        longest = max(self.queues, key=len)
        return longest.pop() if longest else None

    async def _finish(self, session: aiohttp.ClientSession, job: JobT) -> None:
        """Ask a job, and then for what its answers lacked."""
        open_jobs = [job]
        while open_jobs and not self._ending.is_set():
            answered = await self._ask(session, open_jobs.pop())
            if answered is None:
                return
            results, again = answered
            for result in results:
                self._out.put(result)
            open_jobs += again

    async def _ask(self, session: aiohttp.ClientSession, job: JobT) -> tuple[list[ResultT], list[JobT]] | None:
        """The answer to a job, after as many attempts as it takes; `None` where the run ends before."""
        order, body = self._preference(job), self.exchange.body(job)
        tries = self.settings.max_retries + 1
        for attempt in range(tries):
            server = await self._available(order, attempt)
            if self._ending.is_set():
                return None
            at_root = getattr(self.exchange, "at_root", False)
            url = (root_url(server.url) if at_root else server.url) + self.exchange.path
            try:
                answer, headers = await exchange_json(session, "POST", url, self.settings, body)
                read = self.exchange.read(job, answer)
            except FailedAttempt as failure:
                server.note_failure(failure, self.settings, time.monotonic())
                if failure.wait > LONGEST_WAIT_S or attempt + 1 == tries:
                    raise _gave_up(url, attempt + 1, failure) from None
                self.failures[failure.kind] += 1
                logger.info("%s: %s, attempt %d of %d", url, failure, attempt + 1, tries)
                await self._sleep(backoff_seconds(attempt, self.settings, self._rng))
            else:
                server.note_success(headers, time.monotonic())
                return read
        raise AssertionError("unreachable")

    def _preference(self, job: JobT) -> list[int]:
        return preference(self.settings.urls, self.exchange.affinity(job))

    async def _available(self, order: Sequence[int], attempt: int) -> ServerState:
        """The server for an attempt: the first in the job's order that is not left alone, or the one that will be free
        first. A job that failed moves on to the next in its order."""
        turned = [self.servers[order[(attempt + at) % len(order)]] for at in range(len(order))]
        while True:
            now = time.monotonic()
            soonest = min(turned, key=lambda server: max(0.0, server.paused_until - now))  # the first of equals
            if soonest.paused_until <= now or self._ending.is_set():
                return soonest
            await self._sleep(soonest.paused_until - now)

    async def _sleep(self, seconds: float) -> None:
        """Sleep, or until the run ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)


class _End:
    """Marks the end of a run's results."""


def _gave_up(url: str, attempts: int, failure: FailedAttempt) -> EndpointError:
    if failure.wait > LONGEST_WAIT_S:
        return EndpointError(
            f"{url}: asks to be left alone for {failure.wait:.0f} s ({failure}). What was finished is kept; run the "
            "same command again then, or give other servers"
        )
    times = "once" if attempts == 1 else f"{attempts} times"
    return EndpointError(
        f"{url}: a request failed {times}, at last with: {failure}. What was finished is kept; mend the server, or "
        "raise max_retries or request_timeout, and run the same command again to go on"
    )


def _in_thread(coroutine: Coroutine[Any, Any, ReturnT]) -> ReturnT:
    """Run a coroutine to its end, also where this thread has an event loop already."""
    done: list[ReturnT] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            done.append(asyncio.run(coroutine))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="http", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return done[0]
