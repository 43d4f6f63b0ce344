"""engines.py - the engines of compare: what there is, how they are started, asked and stopped"""
import fnmatch
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
import time

PATIENCE = 900  # seconds to wait for an answer of an engine
HERE = pathlib.Path(__file__).resolve().parent

# name: script, dtypes on a CPU, dtypes on a GPU
ENGINES = {
    "sentence-transformers": ("sentence_transformers_peer.py", ("f32", "bf16"), ("f16",)),
    "ONNX Runtime": ("onnx_runtime_peer.py", ("f32", "int8"), ()),
    "OpenVINO": ("openvino_peer.py", ("f32", "bf16", "int8"), ()),
    "CTranslate2": ("ctranslate2_peer.py", ("f32", "int8"), ("f16",)),
    "llama.cpp": ("llama_cpp_peer.py", ("f32", "bf16", "int8"), ()),
    "libembed": ("libembed_peer.py", ("f32", "bf16", "int8"), ("f16",)),
    "embed encode": ("embed_encode_peer.py", ("f32", "bf16", "int8"), ("f16",)),
}

# Environment variables that limit engines to AVX2: libembed, PyTorch, oneDNN, MKL, CTranslate2.
AVX2 = {"EMBED_CPU_ISA": "avx2", "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2", "CT2_FORCE_CPU_ISA": "AVX2"}
# Engines that ignore these in whole or in part, by what oneDNN, CTranslate2 and OpenVINO's profile report:
# OpenVINO's oneDNN kernels become AVX2, its products by MLAS and some kernels of its own stay AVX-512.
NOT_HELD = {"ONNX Runtime": "not held", "OpenVINO": "held in part", "llama.cpp": "not held"}


class LeftOut(Exception):
    pass


class Engine:
    def __init__(self, wanted, name, dtype, text, environment):
        self.name, self.dtype, self.process = name, dtype, None
        self.seconds, self.milliseconds, self.cold_seconds = [], [], []
        weights = wanted.model / "model.safetensors"
        work = wanted.work / f"{wanted.model.name}-{weights.stat().st_size}-{int(weights.stat().st_mtime)}"
        self.command = [sys.executable, HERE / ENGINES[name][0], "--model", wanted.model, "--text", text,
                        "--dtype", dtype, "--threads", str(wanted.threads), "--device", wanted.device,
                        "--work", work, "--build", wanted.build]
        self.environment = environment
        self.log = wanted.work / f"{name}-{dtype}.log".replace(" ", "-")
        self.log.unlink(missing_ok=True)

    def label(self):
        return f"{self.name} {self.dtype}"

    def once(self, argument):
        """What the peer prints, run with --prepare or --try."""
        with open(self.log, "a", encoding="utf-8") as log:
            try:
                done = subprocess.run([*self.command, argument], env=self.environment, stderr=log, text=True,
                                      stdout=subprocess.PIPE, timeout=PATIENCE, check=False)
            except subprocess.TimeoutExpired as late:
                raise LeftOut(f"{argument} takes more than {PATIENCE} s") from late
        if done.returncode:
            raise LeftOut(self.reason(done.stdout))
        return done.stdout

    def reason(self, said):
        if said.startswith("MISSING"):
            return said[len("MISSING"):].strip()
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"{lines[-1][:160] if lines else 'it failed'} ({self.log})"

    def start(self, arguments=()):
        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen([*self.command, *arguments], text=True, env=self.environment,
                                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            start_new_session=True)
        said = self.read_line()
        if not said.startswith("READY"):
            self.end()
            raise LeftOut(self.reason(said))
        self.facts = json.loads(said[len("READY"):])

    def read_line(self):
        """What the peer says next; "" where it ended."""
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            raise LeftOut(f"no answer for {PATIENCE} s")
        return self.process.stdout.readline()

    def ask(self, request):
        """The answer of an engine that runs for it alone, and is stopped again."""
        os.killpg(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(request + "\n")
        self.process.stdin.flush()
        said = self.read_line()
        if not said:
            raise LeftOut(self.reason(""))
        os.killpg(self.process.pid, signal.SIGSTOP)
        return json.loads(said)

    def cpu_seconds(self):
        ticks = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def end(self):
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def cold_start(self):
        """Seconds from the start of a new process to its first embedding."""
        fresh = Engine.__new__(Engine)
        fresh.__dict__.update(self.__dict__)
        begin = time.perf_counter()
        fresh.start()
        try:
            fresh.ask("LATENCY 1")
            return time.perf_counter() - begin
        finally:
            fresh.end()


def chosen(wanted):
    for name, (_, on_cpu, on_gpu) in ENGINES.items():
        if any(fnmatch.fnmatch(name, pattern) for pattern in wanted.only.split(",")):
            for dtype in on_gpu if wanted.device == "cuda" else on_cpu:
                if not wanted.dtypes or dtype in wanted.dtypes:
                    yield name, dtype


def load(wanted, text):
    """Engines that are ready and stopped, in the order of ENGINES; the others are named."""
    environment = {**os.environ, **(AVX2 if wanted.isa else {})}
    ready = []
    for name, dtype in chosen(wanted):
        engine = Engine(wanted, name, dtype, text, environment)
        try:
            engine.once("--prepare")
            engine.start([] if wanted.latency else ["--setting", engine.once("--try").strip()])
            engine.ask("WARM")
            ready.append(engine)
            print(f"# {engine.label()}: {engine.facts['version']}", file=sys.stderr)
        except LeftOut as reason:
            engine.end()
            print(f"# {engine.label()}: left out: {reason}", file=sys.stderr)
    return ready
