"""Asks a Harbor (the fake of tests/support/harbor) with harborapi, a client that knows nothing of talmirror.

    check.py URL PASSWORD

Every answer has to fit harborapi's own models of the API.
"""

import asyncio
import sys

from harborapi import HarborAsyncClient
from harborapi.exceptions import Conflict, NotFound
from harborapi.models import (
    Access,
    Project,
    ProjectMetadata,
    ProjectReq,
    Registry,
    RegistryUpdate,
    Robot,
    RobotCreate,
    RobotPermission,
)


async def main(url: str, password: str) -> None:
    client = HarborAsyncClient(url=f"{url}/api/v2.0/", username="admin", secret=password)
    info = await client.get_system_info()
    assert info.harbor_version.startswith("v2."), info
    health = await client.health_check()
    assert health.status == "healthy", health

    # What talmirror has made is there, page by page.
    registries = await client.get_registries()
    names = {registry.name for registry in registries}
    assert {"docker.io", "quay.io"} <= names, names
    projects = {project.name: project for project in await client.get_projects()}
    assert projects["docker.io"].metadata.retention_id, projects
    robots = await client.get_robots()
    assert [robot.level for robot in robots] == ["system"], robots
    assert {permission.namespace for permission in robots[0].permissions} == {"docker.io", "quay.io"}
    policy = await client.get_retention_policy(int(projects["docker.io"].metadata.retention_id))
    assert policy.rules[0].params["nDaysSinceLastPull"], policy
    quotas = await client.get_quotas()
    assert len(quotas) == 3, quotas
    schedule = await client.get_gc_schedule()
    assert schedule.schedule.cron == "0 0 3 * * *", schedule

    # And it takes what another client sends.
    location = await client.create_registry(
        Registry(name="ghcr.io", type="github-ghcr", url="https://ghcr.io", insecure=False)
    )
    number = int(location.rsplit("/", 1)[1])
    await client.update_registry(number, RegistryUpdate(description="by hand"))
    assert (await client.get_registry(number)).description == "by hand"
    try:
        await client.create_registry(Registry(name="ghcr.io", type="github-ghcr", url="https://ghcr.io"))
        raise AssertionError("a second registry of that name")
    except Conflict:
        pass
    await client.create_project(
        ProjectReq(project_name="ghcr.io", registry_id=number, metadata=ProjectMetadata(public="false"))
    )
    project: Project = await client.get_project("ghcr.io")
    assert project.registry_id == number and project.metadata.public == "false", project
    made = await client.create_robot(
        RobotCreate(
            name="other",
            level="system",
            duration=-1,
            permissions=[
                RobotPermission(
                    kind="project", namespace="ghcr.io", access=[Access(resource="repository", action="pull")]
                )
            ],
        )
    )
    assert made.name == "robot$other" and made.secret, made
    await client.refresh_robot_secret(made.id, "Chosen1Chosen1")
    robot: Robot = await client.get_robot(made.id)
    assert robot.name == "robot$other", robot
    await client.delete_robot(made.id)
    try:
        await client.get_robot(made.id)
        raise AssertionError("a robot that was deleted")
    except NotFound:
        pass
    await client.delete_project("ghcr.io")
    await client.delete_registry(number)
    print("harborapi and the fake agree")


asyncio.run(main(sys.argv[1], sys.argv[2]))
