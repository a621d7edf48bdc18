"""A folder of pages, opened in headless Chromium, and what is found in them.

One page holds the others in frames, and its own loading is held up until what is looked
for is there: Chromium prints a page once it has loaded.
"""

import contextlib
import functools
import html
import http.server
import json
import re
import shutil
import subprocess
import tempfile
import threading

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
PATIENCE = 400  # seconds, on a machine that does much else
# Without connections of its own, and with what pages write to the console.
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--enable-logging=stderr"),
    *("--window-size=1280,1000", "--dump-dom"),
)
WATCH = """<!doctype html><body><script>
const pages = %s, found = {};
const look = inside => {
  const all = query => [...inside.querySelectorAll(query)];
  return { formulas: all(".arithmatex").length,
           drawn: all("mjx-container").length, errors: all("[data-mjx-error]").length,
           broken: all("img").filter(i => i.complete && !i.naturalWidth).length,
           results: all(".md-search-result__link").map(a => a.getAttribute("href")) };
};
const moved = inside => {
  const slider = inside.querySelector("#explorer-p");
  const said = () => inside.querySelector("#explorer-says").textContent;
  const at = value => {
    slider.value = value;
    slider.dispatchEvent(new Event("input", { bubbles: true }));
    return said();
  };
  return slider && [at(0), at(slider.max)];
};
const done = (page, now) => now.drawn == now.formulas &&
  (!page.includes("?q=") || now.results.length);
(async () => {
  for (const page of pages) {
    const frame = document.createElement("iframe");
    frame.width = 1200; frame.height = 900; frame.src = page;
    await new Promise(go => { frame.onload = go; document.body.append(frame); });
    let now = look(frame.contentDocument);
    for (let i = 0; i < 200 && !done(page, now); i++) {
      await new Promise(go => setTimeout(go, 100));
      now = look(frame.contentDocument);
    }
    now.moved = moved(frame.contentDocument);
    found[page] = now;
    frame.remove();
  }
  const text = document.createElement("pre");
  text.textContent = JSON.stringify(found);
  document.body.append(text);
  fetch("/seen");
})();
</script><img src="/hold"></body>"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files, the page with the frames, and what it waits for."""

    def __init__(self, *args, pages, seen, **options):
        self.pages, self.seen = pages, seen
        super().__init__(*args, **options)

    def do_GET(self):
        if self.path == "/watch.html":
            self.answer((WATCH % json.dumps(self.pages)).encode(), "text/html")
        elif self.path == "/seen":
            self.seen.set()
            self.answer(b"", "text/plain")
        elif self.path == "/hold":
            self.seen.wait(PATIENCE)
            self.answer(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")
        else:
            super().do_GET()

    def answer(self, body, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        pass


@contextlib.contextmanager
def served(folder, pages):
    handler = functools.partial(
        Handler, directory=str(folder), pages=pages, seen=threading.Event()
    )
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def looked_at(folder, pages):
    """What is in pages, each with its query, and what they wrote to the console.

    Of each: formulas, those drawn and their errors, pictures that are not there, what
    the search found, and what an explorer says at either end of its first slider.
    """
    assert CHROMIUM is not None
    with served(folder, pages) as address, tempfile.TemporaryDirectory() as own:
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={own}", f"{address}/watch.html"],
            capture_output=True,
            text=True,
            timeout=PATIENCE + 60,
        )
    said = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert said is not None, done.stderr
    return json.loads(html.unescape(said[1])), re.findall("CONSOLE.*", done.stderr)
