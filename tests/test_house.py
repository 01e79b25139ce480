"""The house keeps its shape: small packages, small modules, and a test beside each."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES_LIMIT = 15
LINES_LIMIT = 300

# A module without a test file of its own, and the tests that cover it.
COVERED_BY = {
    "serving/adapters/weights.py": "tests/serving/adapters/test_validation.py",
    "serving/admission/deadline.py": "tests/serving/gateway/test_cancellation.py",
    "serving/admission/key_rate.py": "tests/serving/api/test_app.py",
    "serving/admission/lines.py": "tests/serving/admission/test_fair_queue.py",
    "serving/api/access.py": "tests/serving/gateway/test_grants.py",
    "serving/api/arrival.py": "tests/serving/api/test_app.py",
    "serving/api/compatible/embeddings.py": "tests/serving/gateway/test_embeddings.py",
    "serving/api/compatible/responses.py": "tests/serving/gateway/test_responses_by_id.py",
    "serving/api/compatible/transcriptions.py": "tests/serving/gateway/test_transcriptions.py",
    "serving/api/realtime/connection.py": "tests/serving/gateway/test_realtime.py",
    "serving/api/realtime/endpoint.py": "tests/serving/gateway/test_realtime.py",
    "serving/gateway/entrance/authentication.py": "tests/serving/gateway/test_realtime.py",
    "serving/cluster/beside.py": "tests/e2e/test_openai_api.py",
    "serving/files/form.py": "tests/serving/gateway/test_files.py",
    "serving/transcription/whisper.py": "tests/serving/gateway/test_transcriptions.py",
    "training/intents/run.py": "tests/training/cli/test_intents.py",
    "serving/embedding/models.py": "tests/serving/gateway/test_embeddings.py",
    "serving/knowledge/embedding.py": "tests/serving/knowledge/test_libraries.py",
    "serving/libraries/embedding.py": "tests/serving/libraries/test_command.py",
    "serving/api/bodies.py": "tests/serving/api/test_app.py",
    "serving/api/batches.py": "tests/serving/gateway/test_batches.py",
    "serving/batches/run.py": "tests/serving/gateway/test_batches.py",
    "serving/batches/worker.py": "tests/serving/gateway/test_batches.py",
    "serving/api/files.py": "tests/serving/gateway/test_files.py",
    "serving/api/fine_tuning.py": "tests/serving/gateway/test_fine_tuning.py",
    "serving/api/fine_tuning_bodies.py": "tests/serving/gateway/test_fine_tuning.py",
    "serving/api/review_feed.py": "tests/serving/gateway/test_reviews.py",
    "serving/api/reviews.py": "tests/serving/gateway/test_reviews.py",
    "serving/api/openapi.py": "tests/e2e/test_bad_input.py",
    "serving/cluster/application.py": "tests/test_chart.py",
    "serving/cluster/coordinator_actor.py": "tests/e2e/test_kill.py",
    "serving/cluster/deployment.py": "tests/e2e/test_hot_swap.py",
    "serving/cluster/lines.py": "tests/e2e/test_openai_api.py",
    "serving/cluster/replica.py": "tests/e2e/test_openai_api.py",
    "serving/cluster/replica_deployment.py": "tests/e2e/test_kill.py",
    "serving/config/base.py": "tests/serving/config/test_settings.py",
    "serving/config/limits.py": "tests/serving/config/test_settings.py",
    "serving/config/lobs.py": "tests/serving/config/test_settings.py",
    "serving/config/placement.py": "tests/serving/config/test_settings.py",
    "serving/config/sections.py": "tests/serving/config/test_settings.py",
    "serving/endpoints.py": "tests/serving/cluster/test_haproxy.py",
    "serving/config/rules.py": "tests/serving/rules/test_matching.py",
    "serving/config/secrets.py": "tests/serving/config/test_settings.py",
    "serving/engine/args.py": "tests/benchmarks/test_targets.py",
    "serving/engine/engine.py": "tests/e2e/test_openai_api.py",
    "serving/engine/process.py": "tests/e2e/test_kill.py",
    "serving/fallback/attempt.py": "tests/serving/fallback/test_chain.py",
    "serving/fallback/engine_request.py": "tests/serving/gateway/test_fallback_chain.py",
    "serving/console/app.py": "tests/serving/gateway/test_console.py",
    "serving/console/calls.py": "tests/serving/gateway/test_console_pages.py",
    "serving/console/frame.py": "tests/serving/gateway/test_console.py",
    "serving/console/pages.py": "tests/serving/gateway/test_console.py",
    "serving/console/sessions.py": "tests/serving/gateway/test_console.py",
    "serving/console/adapters.py": "tests/serving/gateway/test_console_pages.py",
    "serving/console/desk.py": "tests/serving/gateway/test_console_pages.py",
    "serving/console/operations.py": "tests/serving/gateway/test_console_pages.py",
    "serving/console/flywheel.py": "tests/serving/gateway/test_console_learning.py",
    "serving/console/quality.py": "tests/serving/gateway/test_console_learning.py",
    "serving/api/learning/flywheel.py": "tests/serving/gateway/test_learning.py",
    "serving/api/learning/grades.py": "tests/serving/gateway/test_learning.py",
    "serving/api/learning/lines.py": "tests/serving/gateway/test_learning.py",
    "serving/api/learning/quality.py": "tests/serving/gateway/test_learning.py",
    "serving/api/learning/window.py": "tests/serving/gateway/test_learning.py",
    "serving/store/grades/tables.py": "tests/serving/store/test_migrations.py",
    "serving/store/reports/tables.py": "tests/serving/store/test_migrations.py",
    "serving/console/reviews.py": "tests/serving/gateway/test_console_pages.py",
    "serving/store/sessions/tables.py": "tests/serving/store/test_migrations.py",
    "serving/gateway/app.py": "tests/serving/gateway/test_fallback_chain.py",
    "serving/gateway/authorization.py": "tests/serving/gateway/test_grants.py",
    "serving/gateway/direct.py": "tests/serving/gateway/test_batches.py",
    "serving/gateway/exchange.py": "tests/serving/gateway/test_fallback_chain.py",
    "serving/gateway/guarding/asking.py": "tests/serving/gateway/guarding/test_checks.py",
    "serving/gateway/guarding/by_sentence.py": "tests/serving/gateway/guarding/test_checks.py",
    "serving/gateway/guarding/judge.py": "tests/serving/gateway/guarding/test_checks.py",
    "serving/gateway/guarding/held.py": "tests/serving/gateway/guarding/test_checks.py",
    "serving/gateway/validation/task_body.py": "tests/serving/gateway/test_tasks.py",
    "serving/gateway/inference.py": "tests/serving/gateway/test_fallback_chain.py",
    "serving/guards/claims/claim.py": "tests/serving/guards/claims/test_check.py",
    "serving/guards/claims/dates.py": "tests/serving/guards/claims/test_check.py",
    "serving/guards/claims/evidence.py": "tests/serving/guards/claims/test_check.py",
    "serving/guards/claims/extraction.py": "tests/serving/guards/claims/test_check.py",
    "serving/guards/claims/names.py": "tests/serving/guards/claims/test_check.py",
    "serving/guards/claims/negations.py": "tests/serving/guards/claims/test_check.py",
    "serving/guards/claims/promises.py": "tests/serving/guards/claims/test_check.py",
    "serving/guards/claims/quantities.py": "tests/serving/guards/claims/test_check.py",
    "serving/guards/claims/tokens.py": "tests/serving/guards/claims/test_check.py",
    "serving/startup/explain.py": "tests/serving/rollout/test_explanation.py",
    "serving/cluster/engine_check.py": "tests/e2e/test_apply.py",
    "serving/gateway/cors.py": "tests/serving/gateway/test_clients.py",
    "serving/capture/traced.py": "tests/serving/gateway/test_traces.py",
    "serving/gateway/capturing.py": "tests/serving/gateway/test_traces.py",
    "serving/observability/tracing.py": "tests/serving/gateway/test_traces.py",
    "serving/rollout/membership.py": "tests/serving/rollout/test_coordinator.py",
    "serving/rollout/result.py": "tests/serving/rollout/test_coordinator.py",
    "serving/rules/completion.py": "tests/serving/gateway/test_ruling.py",
    "serving/rules/decision.py": "tests/serving/gateway/test_ruling.py",
    "serving/rules/testing.py": "tests/serving/rules/test_matching.py",
    "serving/rules/webhook.py": "tests/serving/gateway/test_ruling.py",
    "serving/erasure/compacting.py": "tests/serving/erasure/test_run.py",
    "serving/erasure/dataset_files.py": "tests/training/data/test_erased.py",
    "serving/erasure/files.py": "tests/training/data/test_erased.py",
    "serving/api/erasures.py": "tests/serving/gateway/test_erasures.py",
    "serving/doctor/bundle.py": "tests/serving/doctor/test_command.py",
    "serving/startup/backup.py": "tests/serving/backup/test_take.py",
    "serving/startup/erase.py": "tests/serving/erasure/test_run.py",
    "serving/store/erasure/datasets.py": "tests/training/data/test_erased.py",
    "serving/store/erasure/erasures.py": "tests/serving/erasure/test_run.py",
    "serving/store/erasure/rows.py": "tests/serving/erasure/test_run.py",
    "serving/store/erasure/tables.py": "tests/serving/store/test_migrations.py",
    "serving/capture/rejected.py": "tests/serving/erasure/test_journals.py",
    "serving/startup/first_config.py": "tests/serving/startup/test_commands.py",
    "serving/startup/keys.py": "tests/serving/test_cli.py",
    "serving/startup/remote.py": "tests/serving/test_cli.py",
    "serving/startup/reviews.py": "tests/e2e/test_reviews.py",
    "serving/startup/vault.py": "tests/serving/store/privacy/test_vault.py",
    "serving/store/adapter_versions.py": "tests/serving/adapters/test_registry.py",
    "serving/store/connection.py": "tests/serving/store/test_database.py",
    "serving/store/datasets.py": "tests/training/data/test_repository.py",
    "serving/store/records.py": "tests/serving/store/test_interactions.py",
    "serving/store/routes.py": "tests/serving/adapters/test_registry.py",
    "serving/store/tables.py": "tests/serving/store/test_migrations.py",
    "training/analysis/compare_report.py": "tests/training/cli/test_compare.py",
    "training/analysis/compare_run.py": "tests/training/cli/test_compare.py",
    "training/analysis/plan_run.py": "tests/training/cli/test_plan.py",
    "training/analysis/shadow_run.py": "tests/training/cli/test_canary_shadow.py",
    "training/analysis/impact_report.py": "tests/training/cli/test_impact.py",
    "training/analysis/latency.py": "tests/training/analysis/test_compare.py",
    "training/cli/options.py": "tests/training/cli/test_train.py",
    "training/cli/retrain.py": "tests/training/data/test_erased.py",
    "training/data/examples.py": "tests/training/data/test_curation.py",
    "serving/store/privacy/redactions.py": "tests/serving/capture/test_storing.py",
    "serving/files/upload.py": "tests/serving/gateway/test_files.py",
    "serving/store/files/records.py": "tests/serving/gateway/test_files.py",
    "serving/store/files/tables.py": "tests/serving/store/test_migrations.py",
    "serving/store/jobs/records.py": "tests/serving/store/jobs/test_jobs.py",
    "serving/store/jobs/tables.py": "tests/serving/store/test_migrations.py",
    "serving/startup/retention.py": "tests/serving/erasure/test_retention_sweep.py",
    "serving/config/retention.py": "tests/serving/config/test_settings.py",
    "serving/store/reviews/tables.py": "tests/serving/store/test_migrations.py",
    "serving/store/libraries/tables.py": "tests/serving/store/test_migrations.py",
    "serving/store/networks/tables.py": "tests/serving/store/test_migrations.py",
    "serving/store/privacy/tables.py": "tests/serving/store/test_migrations.py",
    "serving/redaction/birth_dates.py": "tests/serving/redaction/test_surrogates.py",
    "serving/redaction/labels.py": "tests/serving/redaction/test_patterns.py",
    "training/data/coverage.py": "tests/training/data/test_repository.py",
    "training/data/selection.py": "tests/training/test_pipeline.py",
    "training/data/streaming/candidates.py": "tests/training/data/test_curation.py",
    "training/data/streaming/rows.py": "tests/training/data/test_preferences.py",
    "training/data/streaming/sources.py": "tests/training/data/test_repository.py",
    "training/demo/agents.py": "tests/e2e/test_demo.py",
    "training/demo/corpus.py": "tests/training/demo/test_base_model.py",
    "training/demo/edits.py": "tests/training/demo/test_dialogs.py",
    "training/demo/report.py": "tests/e2e/test_demo.py",
    "training/demo/run.py": "tests/e2e/test_demo.py",
    "training/demo/server.py": "tests/e2e/test_demo.py",
    "training/evaluation/judge_check.py": "tests/training/cli/test_judge.py",
    "training/execution/work_folder.py": "tests/training/test_pipeline.py",
    "training/execution/fitting.py": "tests/training/test_pipeline.py",
    "training/jobs/fine_tune.py": "tests/training/jobs/test_runner.py",
    "training/flywheel/cycle_runner.py": "tests/training/flywheel/test_scheduler.py",
    "training/flywheel/lease.py": "tests/training/flywheel/test_scheduler.py",
    "training/flywheel/report.py": "tests/training/flywheel/test_scheduler.py",
    "training/recipe/base.py": "tests/training/recipe/test_recipe.py",
    "training/recipe/canary.py": "tests/training/canary/test_decision.py",
    "training/recipe/curation.py": "tests/training/data/test_curation.py",
    "training/recipe/distillation.py": "tests/training/data/test_distillation.py",
    "training/recipe/flywheel.py": "tests/training/flywheel/test_schedule.py",
    "training/recipe/forgetting.py": "tests/training/evaluation/test_forgetting.py",
    "training/recipe/gate.py": "tests/training/evaluation/test_gate.py",
    "training/recipe/judge.py": "tests/training/evaluation/test_judge.py",
    "training/recipe/monitoring.py": "tests/training/cli/test_monitor.py",
    "training/recipe/methods.py": "tests/training/trainers/test_stages.py",
    "training/recipe/resources.py": "tests/training/execution/test_executor.py",
    "training/recipe/search.py": "tests/training/execution/test_search.py",
    "training/recipe/speed.py": "tests/training/trainers/test_packed_sft.py",
    "training/recipe/tracking.py": "tests/training/trainers/test_stages.py",
    "training/reports/outcome.py": "tests/training/test_pipeline.py",
    "training/reports/plots.py": "tests/training/cli/test_impact.py",
    "training/reports/run.py": "tests/training/test_pipeline.py",
    "training/reports/search.py": "tests/training/execution/test_search.py",
    "training/trainers/common.py": "tests/training/trainers/test_sft.py",
    "training/trainers/dpo.py": "tests/training/trainers/test_stages.py",
    "training/trainers/job.py": "tests/training/execution/test_local.py",
    "training/trainers/kto.py": "tests/training/trainers/test_stages.py",
    "training/trainers/lora.py": "tests/training/trainers/test_sft.py",
    "training/trainers/packed_attention.py": "tests/training/trainers/test_packed_sft.py",
    "training/trainers/tracking.py": "tests/training/trainers/test_stages.py",
}


def modules() -> list[Path]:
    found = [
        path.relative_to(ROOT)
        for folder in ("serving", "training")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__init__.py" and "migrations" not in path.parts
    ]
    assert len(found) > 150
    return found


def test_a_store_is_opened_by_its_address_which_says_where_its_keys_lie() -> None:
    """`store.url` alone opens no encrypted one, and no test of the module would tell."""
    by_url = re.compile(r"Database\([^)]*\bstore\.url\b")
    found = [str(p) for p in modules() if by_url.search((ROOT / p).read_text(encoding="utf-8"))]
    assert found == []


def test_no_module_is_longer_than_one_reads_at_once() -> None:
    long = {
        str(path): lines
        for path in modules()
        if (lines := len((ROOT / path).read_text(encoding="utf-8").splitlines())) > LINES_LIMIT
    }
    assert not long


def test_no_package_holds_more_modules_than_a_listing_shows_at_once() -> None:
    packages: dict[Path, int] = {}
    for path in modules():
        packages[path.parent] = packages.get(path.parent, 0) + 1
    assert not {str(p): count for p, count in packages.items() if count > MODULES_LIMIT}


def test_every_module_has_its_tests() -> None:
    without = [
        str(path)
        for path in modules()
        if not (ROOT / "tests" / path.parent / f"test_{path.name}").is_file()
    ]
    assert sorted(COVERED_BY) == without
    assert not [test for test in COVERED_BY.values() if not (ROOT / test).is_file()]


def test_kernels_folder_is_not_importable() -> None:
    assert not (ROOT / "kernels" / "__init__.py").exists()


@pytest.mark.parametrize("module", ["serving.cli", "training.cli.train"])
def test_help_imports_nothing_heavy(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "slow = {'ray', 'vllm', 'torch', 'transformers', 'trl', 'sqlalchemy'} & {*sys.modules}\n"
        "assert not slow, slow"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
