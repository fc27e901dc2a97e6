"""A person's way through the pages of `ufo studio`, in headless Chromium.

    check_studio.py UFO RUN WORK [SCREENSHOTS]

RUN is a finished demo. Images of three classes are uploaded as a ZIP archive, checked, trained on, served and asked
about; smaller networks are searched and one is made; work survives a page that is opened again, and is cancelled.
Images of identities become a task of embeddings, which finds the images that look most like one.
Then a folder, by the keyboard alone, at a phone's width; and the page of models, with masks and boxes. No page asks anybody but the server,
says anything to the console, or is wider than its window; on a phone nothing is cut at the right.
"""

import gzip
import io
import pathlib
import struct
import subprocess
import sys
import zipfile

import numpy as np
import onnx
from PIL import Image
from playwright.sync_api import expect, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync"]
CLASSES = {1: "trouser", 7: "sneaker", 8: "bag"}
MINUTES = 60_000
expect.set_options(timeout=MINUTES)
# Parts of tables and text that a window shows only when something is scrolled sideways.
CUT = """[...document.querySelectorAll('main *')]
  .filter((one) => one.checkVisibility() && !one.closest('select, svg, thead') && one.scrollWidth > one.clientWidth + 1
    && ['auto', 'scroll', 'hidden'].includes(getComputedStyle(one).overflowX))
  .map((one) => `${one.tagName} ${one.id} ${one.className}: ${one.scrollWidth} > ${one.clientWidth}`)"""


def idx(file):
    raw = gzip.open(file).read()
    sizes = struct.unpack(f">{raw[3]}I", raw[4 : 4 + 4 * raw[3]])
    return raw[4 + 4 * raw[3] :], sizes


def pictures(run, split, each):
    """Clothes of three classes: names and PNG files."""
    pixels, (_, height, width, *_) = idx(run / f"data/fashion/{split}-images.idx.gz")
    labels, _ = idx(run / f"data/fashion/{split}-labels.idx.gz")
    names = (run / "data/fashion/classes.txt").read_text().split("\n")
    assert [names[label].lower() for label in CLASSES] == list(CLASSES.values()), names
    left = dict.fromkeys(CLASSES, each)
    for index, label in enumerate(labels):
        if left.get(label):
            left[label] -= 1
            size = height * width
            image = Image.frombytes("L", (width, height), pixels[index * size : (index + 1) * size])
            file = io.BytesIO()
            image.save(file, "PNG")
            yield f"{CLASSES[label]}/{index}.png", file.getvalue()


def archive(place, run):
    with zipfile.ZipFile(place, "w", zipfile.ZIP_DEFLATED) as zip:
        for name, file in pictures(run, "train", 80):
            zip.writestr(f"clothes/{name}", file)
        zip.writestr("clothes/bag/broken.png", b"\x89PNG\r\n\x1a\n, cut off")
        zip.writestr("../../outside.png", b"nothing")


def identities(place, run, count):
    """An archive of symbols, each as two vendors draw it, none of which the demo was trained on; an image of it."""
    pixels, (_, height, width, channels) = idx(run / "data/emoji/test-images.idx.gz")
    labels = np.frombuffer(idx(run / "data/emoji/test-labels.idx.gz")[0], ">i4")
    size = height * width * channels
    with zipfile.ZipFile(place, "w") as zip:
        for index, label in enumerate(labels):
            if label < count:
                image = Image.frombytes("RGB", (width, height), pixels[index * size : (index + 1) * size])
                file = io.BytesIO()
                image.save(file, "PNG")
                zip.writestr(f"symbol {label}/{index}.png", file.getvalue())
    return file.getvalue()


class Looking:
    """A page, what it asks for and what it says; pictures of it."""

    def __init__(self, browser, address, folder, **options):
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.folder, self.address = folder, address
        self.page.set_default_timeout(2 * MINUTES)
        self.page.on("request", self.asked)
        self.page.on("console", lambda said: self.wrong(f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self.wrong(f"error: {error}"))
        self.troubles = []

    def wrong(self, what):
        self.troubles.append(what)

    def asked(self, request):
        if not request.url.startswith((f"http://{self.address}/", "blob:", "data:")):
            self.wrong(f"asked elsewhere: {request.url}")

    def picture(self, name):
        self.page.wait_for_timeout(200)
        size = self.page.viewport_size
        for width in [320, 360, 400, 640] if size["width"] < 640 else [size["width"]]:
            self.page.set_viewport_size({**size, "width": width})
            wide = self.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            assert wide <= 0, f"{name}: {wide} pixels wider than the window of {width}"
            hidden = self.page.evaluate(CUT) if width < 640 else []
            assert not hidden, f"{name}: cut at the right of a window of {width}: {hidden}"
        self.page.set_viewport_size(size)
        if self.folder:
            self.page.screenshot(path=self.folder / f"{name}.png", full_page=True)

    def close(self):
        assert not self.troubles, self.troubles
        self.context.close()


def work_done(page, what):
    expect(page.locator("#job-said")).to_contain_text(f"{what}", timeout=4 * MINUTES)
    expect(page.locator("#job-said")).to_contain_text(": done", timeout=4 * MINUTES)


def upload_and_train(look, zip):
    page = look.page
    page.goto(f"http://{look.address}/studio")
    page.get_by_label("Choose an archive").set_input_files(zip)
    expect(page.get_by_label("Name")).to_have_value("clothes")
    page.get_by_label("Name").fill("things")
    look.picture("1-new")
    page.get_by_role("button", name="Upload and check").click()
    expect(page.locator("#counts")).to_contain_text("3 classes, 192 images to train on and 48")
    expect(page.get_by_text("Left out: 1 image, cannot be read")).to_be_visible()
    page.wait_for_function("document.getElementById('sheet').naturalWidth === 768")
    look.picture("2-images")
    page.locator("#train-seconds").select_option("10")
    page.get_by_role("button", name="Train", exact=True).click()
    expect(page.locator("#curves polyline").first).to_be_visible()
    # Work goes on while the page is away.
    page.goto("about:blank")
    page.goto(f"http://{look.address}/studio#things")
    expect(page.locator("#job-said")).to_contain_text(" of ")
    expect(page.locator("#curves polyline").first).to_be_visible()
    look.picture("3-training")
    work_done(page, "judging the model")
    expect(page.locator("#result")).to_contain_text("of 48 test images right")
    right = float(page.locator("#result strong").inner_text().removesuffix(" %"))
    assert right > 60, f"{right} % of three classes"
    look.picture("4-trained")
    return right


def serve_and_try(look, images):
    page = look.page
    page.get_by_role("button", name="Serve The whole network, f32").click()
    expect(page.locator("#trying")).to_be_visible()
    said = []
    for name, file in images:
        shown = {"name": name, "mimeType": "image/png", "buffer": file}
        page.locator("#file").set_input_files(shown)
        expect(page.locator("#shown")).to_have_attribute("alt", name)
        expect(page.locator("#said")).to_contain_text(", says things")
        said.append(page.locator("#said").inner_text().split(",")[0] == name.split("/")[0])
    assert sum(said) >= len(said) * 2 / 3, said
    look.picture("5-tried")
    return sum(said), len(said)


def smaller(look, work):
    page = look.page
    page.locator("#sizes-seconds").select_option("10")
    page.get_by_role("button", name="Search").click()
    work_done(page, "measuring smaller networks")
    page.get_by_role("radio").first.check()
    expect(page.locator("#front-chart circle.chosen")).to_have_count(1)
    page.get_by_role("button", name="Make this model").click()
    work_done(page, "judging the model")
    expect(page.get_by_role("heading", name="Smaller network 0")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download model.onnx of Smaller network 0").click()
    download.value.save_as(work / "small.onnx")
    onnx.checker.check_model(onnx.load(work / "small.onnx"))
    page.get_by_role("button", name="Measure them here").click()
    expect(page.locator("#compared tr")).to_have_count(8)
    look.picture("6-smaller")
    # A student is begun, and cancelled.
    page.get_by_role("button", name="Teach").click()
    expect(page.locator("#job-said")).to_contain_text("training a student")
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#job-said")).to_contain_text("cancelled", timeout=MINUTES)


def look_alike(look, zip, run):
    """A task of identities, and the images that look most like one of them."""
    page = look.page
    image = identities(zip, run, 100)
    page.goto(f"http://{look.address}/studio")
    page.get_by_label("Choose an archive").set_input_files(zip)
    page.get_by_label("Name").fill("symbols")
    page.get_by_label("identities, each").check()
    look.picture("12-identities")
    page.get_by_role("button", name="Upload and check").click()
    expect(page.locator("#counts")).to_contain_text("100 identities, 160 images to train on and 40")
    page.locator("#train-seconds").select_option("10")
    page.get_by_role("button", name="Train", exact=True).click()
    work_done(page, "judging the model")
    expect(page.locator("#result")).to_contain_text("of 40 test images find another of their identity")
    found = float(page.locator("#result strong").inner_text().removesuffix(" %"))
    assert found > 15, f"{found} % of 20 identities, by chance 2.6"
    page.get_by_role("button", name="Serve The whole network, f32").click()
    expect(page.locator("#trying")).to_be_visible()
    page.locator("#file").set_input_files({"name": "one.png", "mimeType": "image/png", "buffer": image})
    expect(page.locator("#said")).to_contain_text("most like symbol ")
    expect(page.locator(".lookalikes li")).to_have_count(12)
    # The image itself is among the project's.
    expect(page.locator(".lookalikes li").first).to_contain_text(", 1.00")
    page.wait_for_function("[...document.querySelectorAll('.lookalikes img')].every((one) => one.naturalWidth === 32)")
    look.picture("13-look-alike")
    page.set_viewport_size({"width": 360, "height": 740})
    look.picture("14-phone-look-alike")
    return found


def by_keyboard(look, run, work):
    """A folder is uploaded at a phone's width with no pointer."""
    page = look.page
    for name, file in pictures(run, "test", 12):
        place = work / "wardrobe" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file)
    page.goto(f"http://{look.address}/studio")
    expect(page.locator("#new")).to_be_visible()
    page.locator("#folder").set_input_files(work / "wardrobe")
    expect(page.locator("#chosen")).to_contain_text("36 files")

    def tab_to(wanted):
        for _ in range(40):
            page.keyboard.press("Tab")
            focus = page.evaluate("[document.activeElement.id, document.activeElement.textContent]")
            if wanted in focus:
                # What has the focus is seen to have it.
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline != "none", wanted
                return
        raise AssertionError(f"no Tab reaches {wanted}")

    tab_to("name")
    expect(page.locator("#name")).to_have_value("wardrobe")
    tab_to("upload")
    page.keyboard.press("Enter")
    expect(page.locator("#counts")).to_contain_text("3 classes, 27 images")
    look.picture("7-phone-images")
    tab_to("train-seconds")
    page.keyboard.press("End")
    tab_to("Train")
    page.keyboard.press("Enter")
    expect(page.locator("#job-said")).to_contain_text("training")
    tab_to("cancel")
    page.keyboard.press("Enter")
    expect(page.locator("#job-said")).to_contain_text("cancelled", timeout=MINUTES)
    expect(page.get_by_role("button", name="Go on")).to_be_visible()
    look.picture("8-phone-cancelled")
    page.on("dialog", lambda dialog: dialog.accept())
    tab_to("remove")
    page.keyboard.press("Enter")
    expect(page.locator("#projects")).not_to_contain_text("wardrobe")
    page.goto(f"http://{look.address}/studio#things")
    expect(page.locator("#cards h3").first).to_be_visible()
    look.picture("9-phone-models")


def models_page(look, image):
    page = look.page
    page.goto(f"http://{look.address}/")
    expect(page.locator("#models tr").first).to_be_visible()
    page.locator("#file").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": image})
    expect(page.locator("#answers article")).to_have_count(6)
    page.get_by_role("button", name="Measure the models here").click()
    expect(page.locator("#compared tr").first).to_be_visible()
    expect(page.locator("#fronts circle").first).to_be_visible()
    # Who answers, where several models have a task.
    chosen = page.locator("#tasks select").first
    task, other = page.evaluate("""(() => { const choice = document.querySelector('#tasks select');
      return [choice.closest('span').querySelector('input').value, choice.options[1].value]; })()""")
    answer = page.locator("#answers article").filter(has_text=task).first
    expect(answer.locator("small")).not_to_have_text(other)
    chosen.focus()
    page.keyboard.press("ArrowDown")
    expect(chosen).to_have_value(other)
    expect(answer.locator("small")).to_have_text(other)
    expect(page.locator("#answers article")).to_have_count(6)
    expect(chosen).to_have_value(other)
    # A point of a front, by the keyboard.
    page.locator("#fronts input[type=radio]").first.focus()
    page.keyboard.press("Space")
    expect(page.locator("#fronts circle.marked")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    expect(page.locator("#fronts input[type=radio]").nth(1)).to_be_checked()
    look.picture("10-models")
    page.set_viewport_size({"width": 360, "height": 740})
    look.picture("11-phone-models")


def masks_and_boxes(look):
    """Masks and boxes over an image, of answers that are made up: the demo has no such task."""
    page = look.page
    task = lambda name, kind: {"name": name, "kind": kind, "shape": [2, 2, 4], "classes": ["sky", "sea"], "images": 0}
    model = {"name": "made-up", "input": {"shape": [3, 2, 4]}, "preprocess": {}, "papers": {"fronts": []}}
    model["tasks"] = [task("regions", "mask"), task("things", "boxes")]
    shares = [{"class": "sea", "share": 0.75}, {"class": "sky", "share": 0.25}]
    box = {"class": "sea", "score": 0.9, "left": 60, "top": 30, "right": 180, "bottom": 130}
    regions = {"shares": shares, "size": {"width": 4, "height": 2}, "mask": [0, 1, 1, 1, 0, 1, 1, 1]}
    said = {"width": 320, "height": 160, "tasks": []}
    said["tasks"] = [{"name": "regions", "model": "made-up", **regions}]
    said["tasks"] += [{"name": "things", "model": "made-up", "boxes": [box]}]
    page.route("**/v1/models", lambda route: route.fulfill(json={"threads": 1, "models": [model]}))
    page.route("**/v1/predict?*", lambda route: route.fulfill(json=said))
    page.goto(f"http://{look.address}/")
    expect(page.locator("#tasks input")).to_have_count(2)
    file = io.BytesIO()
    Image.new("RGB", (320, 160), "white").save(file, "PNG")
    page.locator("#file").set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": file.getvalue()})
    expect(page.locator("canvas.seen")).to_have_count(2)
    drawn = page.evaluate("""[...document.querySelectorAll('canvas.seen')].map((one) =>
      [...one.getContext('2d').getImageData(0, 0, 320, 160).data])""")
    pixel = lambda place, x, y: drawn[place][4 * (320 * y + x) :][:4]
    white = [255, 255, 255, 255]
    sky, sea = pixel(0, 40, 80), pixel(0, 120, 80)
    assert white not in (sky, sea) and sky != sea, (sky, sea)
    # The first quarter is sky, to its last pixel, and nothing of the mask is blurred.
    assert [pixel(0, x, y) for x, y in [(2, 2), (78, 158), (81, 2), (318, 158)]] == [sky, sky, sea, sea]
    edges = [pixel(1, 60, 90), pixel(1, 180, 90), pixel(1, 120, 30), pixel(1, 120, 130)]
    assert white not in edges and len({tuple(edge) for edge in edges}) == 1, edges
    assert pixel(1, 120, 90) == white and pixel(1, 200, 90) == white
    named = page.get_by_role("img", name="sea 75.0 %, sky 25.0 %")
    expect(named).to_be_visible()
    expect(page.get_by_role("img", name="The image with 1 box")).to_be_visible()
    expect(page.locator("#answers article").first).to_contain_text("sky")
    expect(page.locator("#answers article").last).to_contain_text("90.0 %")
    look.picture("15-masks")
    page.set_viewport_size({"width": 360, "height": 740})
    look.picture("16-phone-masks")


def main(ufo, run, work, screenshots=None):
    run, work = pathlib.Path(run), pathlib.Path(work)
    folder = pathlib.Path(screenshots) if screenshots else None
    models = sorted(run.joinpath("models").iterdir())
    command = [ufo, "studio", "--run", run, "--out", work / "studio", *models]
    command += ["--set", "listen=127.0.0.1:0", "--log", "warn"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        address = server.stdout.readline().split("http://")[1].split("/")[0]
        archive(work / "clothes.zip", run)
        tried = list(pictures(run, "test", 3))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            wide = Looking(browser, address, folder, viewport={"width": 1100, "height": 800})
            right = upload_and_train(wide, work / "clothes.zip")
            hits, asked = serve_and_try(wide, tried)
            smaller(wide, work)
            wide.close()
            look = Looking(browser, address, folder, viewport={"width": 1100, "height": 800})
            found = look_alike(look, work / "symbols.zip", run)
            look.close()
            phone = Looking(browser, address, folder, viewport={"width": 360, "height": 740})
            by_keyboard(phone, run, work)
            phone.close()
            look = Looking(browser, address, folder, viewport={"width": 1100, "height": 800})
            models_page(look, tried[0][1])
            look.close()
            look = Looking(browser, address, folder, viewport={"width": 1100, "height": 800})
            masks_and_boxes(look)
            look.close()
            browser.close()
    finally:
        server.terminate()
        assert server.wait(timeout=60) == 0, "SIGTERM ends the server with 0"
    print(f"from an archive to answers in the browser: {right} % of the test images, {hits} of {asked} others")
    print(f"identities: {found} % of the test images find their own first")


if __name__ == "__main__":
    main(*sys.argv[1:])
