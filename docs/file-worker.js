// Browsers start no workers for a page that is opened as a file. There, the search's script runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      const inside = this.frame.contentWindow;
      inside.document.open();
      inside.document.write("<!doctype html><body>");
      inside.document.close();
      inside.postMessage = (data) => queueMicrotask(() => this.answer(data));
      const script = inside.document.createElement("script");
      script.src = url;
      this.loaded = new Promise((done) => { script.onload = done; });
      inside.document.body.append(script);
    }

    postMessage(data) {
      const event = new MessageEvent("message", { data: structuredClone(data) });
      this.loaded.then(() => this.frame.contentWindow?.dispatchEvent(event));
    }

    answer(data) {
      const event = new MessageEvent("message", { data });
      this.onmessage?.(event);
      this.dispatchEvent(event);
    }

    terminate() {
      this.frame.remove();
    }
  };
}
