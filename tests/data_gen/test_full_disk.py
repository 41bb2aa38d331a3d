"""A full disk ends a stage with one message and loses nothing: with room again, the same command goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from prm.data_gen.rollout import RolloutConfig, run_rollout

# No file of the process may grow beyond the limit, as if the disk were full there.
SCRIPT = """
import json, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from prm.config import run_main
from prm.data_gen import rollout
sys.argv[1:] = json.loads(sys.argv[2])
run_main(rollout.main)
"""


def test_a_full_disk_stops_cleanly_and_the_run_goes_on(generator_dir: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        **{"model_name_or_path": str(generator_dir), "device": "cpu", "max_batch_rows": 2, "max_new_tokens": 24},
        **{"dataset_name": "arithmetic", "num_problems": 24, "n": 2},
    }
    run_rollout(RolloutConfig(**options, output_dir=str(tmp_path / "whole")))
    size = (tmp_path / "whole" / "rollout_ledger.jsonl").stat().st_size

    full = {**options, "output_dir": str(tmp_path / "full")}
    arguments = [part for name, value in full.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-c", SCRIPT, str(size // 2), json.dumps(arguments)]
    stopped = subprocess.run(command, capture_output=True, text=True, check=False)
    assert stopped.returncode == 2, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "what was finished is kept, mend this and run the same command again to go on" in stopped.stderr
    kept = (tmp_path / "full" / "rollout_ledger.jsonl").read_bytes()
    assert 0 < len(kept) <= size // 2

    assert not run_rollout(RolloutConfig(**full)).repeated
    for name in ("rollouts.jsonl", "rollout_report.json"):
        assert (tmp_path / "full" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert (tmp_path / "full" / "rollout_ledger.jsonl").read_bytes().startswith(kept[: kept.rindex(b'{"batch"')])
