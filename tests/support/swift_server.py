# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenStack Swift on loopback: `python swift_server.py FOLDER PORT`, started by `tests.support.objects`.

Proxy, account, container and object server are Swift's own, as are its rings, its S3 API and its large objects; that
all four run in one process, on one copy and one disk, is what the tests' machine makes of it.
"""

import eventlet

eventlet.monkey_patch()

import socket  # noqa: E402 - Eventlet comes first
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

from eventlet import wsgi  # noqa: E402
from paste.deploy import loadapp  # noqa: E402
from swift.common import utils  # noqa: E402
from swift.common.ring import RingBuilder  # noqa: E402
from swift.common.storage_policy import reload_storage_policies  # noqa: E402

USER, KEY = "tmtp:gateway", "only-for-tests"
_PART_POWER = 4
_SERVERS = ("account", "container", "object")

_PROXY = f"""
[DEFAULT]
swift_dir = {{swift}}
log_level = ERROR
[pipeline:main]
pipeline = catch_errors listing_formats bulk s3api tempauth slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:bulk]
use = egg:swift#bulk
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_tmtp_gateway = {KEY} .admin
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:symlink]
use = egg:swift#symlink
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
"""

_STORE = """
[DEFAULT]
swift_dir = {swift}
devices = {devices}
mount_check = false
fallocate_reserve = 0
log_level = ERROR
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""


def _listening(port: int = 0) -> socket.socket:
    return eventlet.listen(("127.0.0.1", port), reuse_port=False)


def _ring(folder: Path, name: str, port: int) -> None:
    builder = RingBuilder(_PART_POWER, 1, 0)
    builder.add_dev(
        {
            "id": 0,
            "region": 1,
            "zone": 1,
            "weight": 1.0,
            "ip": "127.0.0.1",
            "port": port,
            "replication_ip": "127.0.0.1",
            "replication_port": port,
            "device": "disk",
            "meta": "",
        }
    )
    builder.rebalance()
    builder.get_ring().save(str(folder / f"{name}.ring.gz"))


def main(folder: Path, port: int) -> None:
    """Serve until killed; says `ready` when it does."""
    swift, devices = folder / "swift", folder / "devices"
    swift.mkdir(exist_ok=True)
    (devices / "disk").mkdir(parents=True, exist_ok=True)
    (swift / "swift.conf").write_text(
        "[swift-hash]\nswift_hash_path_suffix = tests\nswift_hash_path_prefix = tests\n"
        "[storage-policy:0]\nname = default\ndefault = yes\n"
    )
    utils.SWIFT_CONF_FILE = str(swift / "swift.conf")
    utils.validate_hash_conf()
    reload_storage_policies()
    sockets = {name: _listening() for name in _SERVERS}
    for name, listening in sockets.items():
        _ring(swift, name, listening.getsockname()[1])
    sockets["proxy"] = _listening(port)
    for name, listening in sockets.items():
        conf = swift / f"{name}.conf"
        conf.write_text((_PROXY if name == "proxy" else _STORE).format(swift=swift, devices=devices, name=name))
        app = loadapp(f"config:{conf}", global_conf={"log_level": "ERROR"})
        eventlet.spawn(wsgi.server, listening, app, log_output=False, debug=False, max_size=1_000)
    print("ready", flush=True)
    while True:
        eventlet.sleep(3600)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
