"""Two replicas behind nginx, killed and ended under load: no request is lost.

    check_replicas.py UFO MODEL IMAGE SECONDS

nginx runs deploy/nginx.conf on free ports. Eight clients ask all the time, each on one connection; meanwhile
one replica is killed (SIGKILL), started again, and the other ended (SIGTERM), which has to finish what it has.
Every request must get an answer, the same bits each time. Changes go to the first replica alone, once, also while it
does not run; an archive for the studio may be larger than other bodies. Standard library only.
"""

import collections
import http.client
import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

CLIENTS = 8


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def serve(ufo, model, port):
    command = [ufo, "serve", f"m={model}", "--set", f"listen=127.0.0.1:{port}", "--log", "warn"]
    replica = subprocess.Popen([*command, "--set", "threads=1"], stdout=subprocess.PIPE, text=True)
    assert "listening" in replica.stdout.readline()
    return replica


def nginx(folder, front, backs):
    text = pathlib.Path("deploy/nginx.conf").read_text()
    for old, new in zip([":8080", ":8081", ":8082"], [front, *backs]):
        assert text.count(old + ";") + text.count(old + " ") in (1, 2), old
        text = text.replace(old, f":{new}")
    places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    temporary = "".join(f"{place}_temp_path {folder}/{place};\n" for place in places)
    text = text.replace("http {", f"http {{\naccess_log off;\n{temporary}", 1)
    text = f"pid {folder}/pid;\ndaemon off;\nerror_log {folder}/error.log warn;\n{text}"
    place = pathlib.Path(folder) / "nginx.conf"
    place.write_text(text)
    subprocess.run(["nginx", "-t", "-q", "-c", place, "-e", f"{folder}/error.log"], check=True)
    return subprocess.Popen(["nginx", "-c", place, "-e", f"{folder}/error.log"])


def ask(connection, task, image):
    connection.request("POST", f"/v1/predict/{task}?logits=true", image)
    reply = connection.getresponse()
    return reply.status, reply.read()


def client(port, task, image, done, answers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    while not done.is_set():
        started = time.monotonic()
        try:
            status, body = ask(connection, task, image)
        except Exception as error:  # a lost request, whatever the reason
            status, body = repr(error), b""
            connection.close()
        answers.append((status, body, time.monotonic() - started))


CHANGES = [
    ("PUT", "/v1/models/{model}"),
    ("DELETE", "/v1/models/{model}"),
    ("PUT", "/v1/gallery/{task}/{id}"),
    ("GET", "/v1/gallery/{task}"),
    ("POST", "/v1/search/{task}"),
    ("PUT", "/v1/studio/{project}"),
]


def change(front, method, route, body=b"x"):
    """The status of a change, and whether the server itself answered."""
    connection = http.client.HTTPConnection("127.0.0.1", front, timeout=30)
    connection.request(method, route.translate({ord("{"): None, ord("}"): None}), body)
    reply = connection.getresponse()
    own = reply.getheader("Content-Type") == "application/json"
    reply.read()
    connection.close()
    return reply.status, own


def changes_seen(back):
    connection = http.client.HTTPConnection("127.0.0.1", back, timeout=30)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {route: f'route="{route}"' in text for _, route in CHANGES}


def check_changes(front, backs):
    """This server keeps nothing that changes, so that it refuses each; what counts is who is asked."""
    for method, route in CHANGES:
        for _ in range(4):
            assert change(front, method, route) == (404, True), route
    assert all(changes_seen(backs[0]).values()), changes_seen(backs[0])
    assert not any(changes_seen(backs[1]).values()), changes_seen(backs[1])
    large = bytes(40 << 20)
    assert change(front, *CHANGES[-1], large) == (404, True), "an archive of 40 MiB"
    assert change(front, "POST", "/v1/predict/none", large) == (413, False), "a body of 40 MiB"


def reached(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def main(ufo, model, image, seconds):
    image = pathlib.Path(image).read_bytes()
    front, *backs = free_ports(3)
    replicas = [serve(ufo, model, port) for port in backs]
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder).chmod(0o755)
        proxy = nginx(folder, front, backs)
        try:
            while not reached(front):
                time.sleep(0.05)
            direct = http.client.HTTPConnection("127.0.0.1", backs[0])
            direct.request("GET", "/v1/models")
            task = json.loads(direct.getresponse().read())["models"][0]["tasks"][0]["name"]
            status, expected = ask(direct, task, image)
            assert status == 200, status
            direct.close()
            check_changes(front, backs)
            done, answers = threading.Event(), []
            clients = [
                threading.Thread(target=client, args=(front, task, image, done, answers))
                for _ in range(CLIENTS)
            ]
            for one in clients:
                one.start()
            quarter = float(seconds) / 4
            time.sleep(quarter)
            replicas[0].kill()
            replicas[0].wait()
            lost = [change(front, *one) for one in CHANGES]
            assert lost == [(502, False)] * len(CHANGES), lost
            assert not any(changes_seen(backs[1]).values()), changes_seen(backs[1])
            time.sleep(quarter)
            replicas[0] = serve(ufo, model, backs[0])
            time.sleep(quarter)
            replicas[1].send_signal(signal.SIGTERM)
            assert replicas[1].wait(timeout=30) == 0, "SIGTERM ends a replica with 0"
            time.sleep(quarter)
            done.set()
            for one in clients:
                one.join()
        finally:
            proxy.terminate()
            proxy.wait()
            for replica in replicas:
                replica.kill()
                replica.wait()
    counts = collections.Counter(status for status, _, _ in answers)
    others = sum(status == 200 and body != expected for status, body, _ in answers)
    slowest = max(taken for _, _, taken in answers)
    print(f"{len(answers)} requests from {CLIENTS} clients, one replica killed, one ended: {dict(counts)};")
    print(f"{len(CHANGES)} kinds of changes were asked of the first alone, and of nobody while it did not run")
    print(f"{others} answers differ from those of a server alone; the slowest took {slowest:.2f} s")
    assert set(counts) == {200} and others == 0 and len(answers) > 50


if __name__ == "__main__":
    main(*sys.argv[1:])
