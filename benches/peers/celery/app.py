"""The peer: a no-op task that FastAPI queues through Celery, with Redis as broker and result store.

`celery --app app.queue worker` runs the tasks, `uvicorn app:web` takes them in.
"""

import os
from typing import Any
from uuid import uuid4

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel
from redis import Redis

RESULTS = os.environ["PEER_RESULTS"]

queue = Celery("peer", broker=os.environ["PEER_BROKER"], backend=RESULTS)
queue.conf.update(
    # A task is acknowledged once its result is stored: a worker that dies loses none.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=False,
    result_expires=None,
    # One for all threads of the web process.
    result_backend_thread_safe=True,
    # The rest spares Celery what no one here asks for.
    worker_prefetch_multiplier=128,
    worker_send_task_events=False,
    worker_enable_remote_control=False,
    worker_disable_rate_limits=True,
    broker_pool_limit=32,
)

# Submitting would subscribe to the result of each task, for someone who waits for it in this
# process; nobody does.
queue.backend.on_task_call = lambda producer, task_id: None


@queue.task(name="noop")
def noop(prompt: str) -> str:
    """Does nothing, as the no-op agent does."""
    return prompt


class Submit(BaseModel):
    """The body of a submit."""

    task_type: str
    input_data: dict[str, Any]


web = FastAPI()
results = Redis.from_url(RESULTS)


@web.post("/tasks/", status_code=201)
def submit(body: Submit) -> dict[str, str]:
    """Answers once the broker has the task on disk."""
    task_id = str(uuid4())
    noop.apply_async((body.input_data.get("prompt", ""),), task_id=task_id)
    return {"task_id": task_id, "status": "queued"}


@web.get("/tasks/{task_id}")
def show(task_id: str) -> dict[str, str]:
    """The state of a task; Celery calls a task without a result pending."""
    state = noop.AsyncResult(task_id).state
    return {"task_id": task_id, "status": "completed" if state == "SUCCESS" else state.lower()}


@web.get("/count")
def count() -> dict[str, int]:
    """How many results are stored: the database holds nothing else."""
    return {"completed": results.dbsize()}
