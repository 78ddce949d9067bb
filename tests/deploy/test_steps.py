"""What a step becomes on the wire."""

from __future__ import annotations

from tests.deploy.simulated import target

from pinwheel.deploy.planning import steps

RELEASE = "1.0.0-aaaaaaaa"


def test_only_steps_that_install_carry_the_credential() -> None:
    url = "https://__token__:secret@index.example/simple/"
    prepare = steps.Prepare("h1", "shop", "shop", RELEASE, "1.0.0", "aa", "", ())
    activate = steps.Activate("h1", "shop", RELEASE, None, None, None)
    for step, carries in ((steps.Look("h1"), False), (prepare, True), (activate, False)):
        document = steps.request(step, target("h1"), environment="live", rollout="r1", fence=7, index_url=url)
        assert ("secret" in repr(document)) == carries
        assert "secret" not in repr(step)
        assert (document["protocol"], document["action"], document["fence"]) == (1, step.action, 7)
        assert document["layout"]["root"] == "/srv/pinwheel"
        assert "host" not in document["body"]
