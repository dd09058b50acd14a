"""A server of OpenAI's protocol around a tiny causal model: a real one, over HTTP on loopback, that can misbehave.

It speaks as vLLM does (numbers of tokens, `prompt_logprobs`), or as llama.cpp's Python server (text, `echo` with names
of tokens), and counts what it is asked.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch

Misbehaviour = Callable[[BaseHTTPRequestHandler, int], bool]
"""From a request and its number, from 0, to whether it was dealt with."""


@dataclass
class Speaker:
    """A model, its tokenizer, and how its server answers.

    Args:
        model: Causal, of transformers, in eval mode.
        tokenizer: Its own.
        speaks: `vllm`; `echo` (text alone, no prompt_logprobs); `llama` (the same with what llama-cpp-python 0.3.36
            does: a first token BOS is left out, and without one all log-probabilities come a place late); or `text` (no
            log-probabilities at all).
        most: Log-probabilities said at most.
        renames: From a token's number to what is said in its place.
        begins: A token put before every text, as some servers do.
        temperature: Divides the logits of what is said, as a server does that is set up wrongly.
        misbehaves: See `Misbehaviour`.
    """

    model: Any
    tokenizer: Any
    speaks: str = "vllm"
    most: int = 1000
    renames: dict[int, str] = field(default_factory=dict)
    begins: int | None = None
    temperature: float = 1.0
    misbehaves: Misbehaviour = lambda request, number: False
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    _under_way: int = 0
    _lock: Any = field(default_factory=threading.Lock)
    url: str = ""

    def name(self, token: int) -> str:
        return self.renames.get(token, str(self.tokenizer.decode([token])))

    @torch.no_grad()
    def distributions(self, tokens: Sequence[int]) -> torch.Tensor:
        """Log-probabilities after each token."""
        said = self.model(input_ids=torch.tensor([list(tokens)])).logits[0].double()
        return torch.log_softmax(said[:, : len(self.tokenizer)] / self.temperature, dim=-1)

    def tokens(self, prompt: Any) -> list[int]:
        if isinstance(prompt, list):
            if self.speaks != "vllm":
                raise ValueError("prompt: Input should be a valid string")
            return prompt
        found = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        return [self.begins, *found] if self.begins is not None else found

    def completion(self, body: dict[str, Any]) -> dict[str, Any]:
        if body["model"] != "small":
            raise KeyError(body["model"])
        tokens = self.tokens(body["prompt"])
        said = self.distributions(tokens)
        text, more, why = self._continued(tokens, body)
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": why}
        if self.speaks == "vllm" and body.get("prompt_logprobs"):
            choice["prompt_logprobs"] = self._numbered(tokens, said, min(body["prompt_logprobs"], self.most))
        if self.speaks != "text" and body.get("echo") and body.get("logprobs"):
            choice |= self._echoed(tokens, more, said, min(body["logprobs"], self.most))
        usage = {"prompt_tokens": len(tokens), "completion_tokens": len(more)}
        return {"object": "text_completion", "model": "small", "choices": [choice], "usage": usage}

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        text = self.tokenizer.apply_chat_template(body["messages"], tokenize=False, add_generation_prompt=True)
        said = self.completion({**body, "prompt": text})
        choice = said["choices"][0]
        message = {"role": "assistant", "content": choice["text"]}
        return {**said, "choices": [{"index": 0, "message": message, "finish_reason": choice["finish_reason"]}]}

    def _continued(self, tokens: list[int], body: dict[str, Any]) -> tuple[str, list[int], str]:
        more: list[int] = []
        draw = torch.Generator().manual_seed(int(body.get("seed", 0)))
        while len(more) < body["max_tokens"]:
            last = self.distributions([*tokens, *more])[-1]
            warm = body.get("temperature", 1.0)
            chosen = torch.multinomial((last / warm).softmax(-1), 1, generator=draw) if warm else last.argmax()
            more.append(int(chosen))
            if more[-1] == self.tokenizer.eos_token_id:
                return self.tokenizer.decode(more[:-1], skip_special_tokens=True), more, "stop"
        return self.tokenizer.decode(more, skip_special_tokens=True), more, "length"

    def _numbered(self, tokens: list[int], said: torch.Tensor, count: int) -> list[Any]:
        found: list[Any] = [None]
        for place, token in enumerate(tokens[1:]):
            values, numbers = said[place].topk(min(count, said.shape[1]))
            entries = dict(zip(numbers.tolist(), values.tolist(), strict=True)) | {token: float(said[place, token])}
            found.append({str(n): {"logprob": v, "rank": 1, "decoded_token": self.name(n)} for n, v in entries.items()})
        return found

    def _echoed(self, tokens: list[int], more: list[int], said: torch.Tensor, count: int) -> dict[str, Any]:
        whole = [*tokens, *more]
        said = self.distributions(whole)
        if self.speaks == "llama":
            whole = whole[1:] if whole[0] == self.tokenizer.bos_token_id else whole
            said = said[1:]
        own: list[Any] = [None]
        top: list[Any] = [None]
        for place, token in enumerate(whole[1:]):
            values, numbers = said[place].topk(min(count, said.shape[1]))
            own.append(float(said[place, token]))
            named = dict(zip(map(self.name, numbers.tolist()), values.tolist(), strict=True))
            top.append(named | {self.name(token): own[-1]})
        logprobs = {"tokens": list(map(self.name, whole)), "token_logprobs": own, "top_logprobs": top}
        return {"text": self.tokenizer.decode(whole), "logprobs": logprobs}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    speaker: Speaker

    def do_POST(self) -> None:
        speaker = self.speaker
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with speaker._lock:
            number = len(speaker.asked)
            speaker.asked.append(body)
            speaker.headers.append(dict(self.headers))
            speaker._under_way += 1
            speaker.most_at_once = max(speaker.most_at_once, speaker._under_way)
        try:
            if speaker.misbehaves(self, number):
                return
            paths = {"/v1/completions": speaker.completion, "/v1/chat/completions": speaker.chat}
            if self.path not in paths:
                answer(self, 404, {"error": "no such path"})
                return
            try:
                answer(self, 200, paths[self.path](body))
            except KeyError as error:
                answer(self, 404, {"error": f"there is no model {error}"})
            except ValueError as error:  # as llama.cpp's Python server does
                answer(self, 500, {"error": str(error)})
        except (BrokenPipeError, ConnectionResetError):  # the client has gone
            self.close_connection = True
        finally:
            with speaker._lock:
                speaker._under_way -= 1

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: the requests are kept."""


def answer(request: BaseHTTPRequestHandler, state: int, said: Any, **headers: str) -> bool:
    """Answers a request, with JSON or with bytes as they are."""
    content = said if isinstance(said, bytes) else json.dumps(said).encode()
    request.send_response(state)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        request.send_header(name.replace("_", "-"), value)
    request.end_headers()
    request.wfile.write(content)
    return True


def dropped(request: BaseHTTPRequestHandler) -> bool:
    """Ends the connection in the middle of an answer."""
    request.send_response(200)
    request.send_header("Content-Length", "1000")
    request.end_headers()
    request.wfile.write(b'{"choices": [')
    request.close_connection = True
    return True


def late(request: BaseHTTPRequestHandler, seconds: float) -> bool:
    """Says nothing for so long that nobody waits any more."""
    time.sleep(seconds)
    request.close_connection = True
    return True


@contextmanager
def serving(speaker: Speaker) -> Iterator[Speaker]:
    """The server while the block runs; its URL stands in `speaker.url`."""
    handler = type("Handler", (_Handler,), {"speaker": speaker})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    speaker.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield speaker
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
