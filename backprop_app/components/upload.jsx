// Sends one file to the app as it is, with progress, and tells the page where it was stored.
import { useRef, useState } from "react";

export function Upload({ accept = "", label = "", children, onDone }) {
  const input = useRef(null);
  const [text, setText] = useState("");
  const [busy, setBusy] = useState(false);

  const end = (message) => {
    setBusy(false);
    setText(message);
  };

  const send = (file) => {
    const request = new XMLHttpRequest();
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) setText(`Sending, ${Math.round((100 * event.loaded) / event.total)} %`);
    };
    request.onerror = () => end("The connection broke off. Nothing was stored.");
    request.onload = () => {
      if (request.status === 413) {
        end("The file is larger than 512 MB. Start the app with --data-dir and name its folder.");
        return;
      }
      const answer = JSON.parse(request.responseText);
      if (request.status === 200) {
        end("");
        onDone(answer.path);
      } else {
        end(answer.error ? `${answer.error.message} ${answer.error.hint}` : "The app did not take the file.");
      }
    };
    setBusy(true);
    setText("Sending");
    request.open("POST", `/api/uploads?name=${encodeURIComponent(file.name)}`);
    request.setRequestHeader("content-type", "application/octet-stream");
    request.send(file);
  };

  const take = (files) => {
    if (files.length > 0 && !busy) send(files[0]);
  };

  return (
    <div
      className="drop"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        take(event.dataTransfer.files);
      }}
    >
      <input
        ref={input}
        type="file"
        accept={accept}
        hidden
        aria-label={label}
        onChange={(event) => {
          take(event.target.files);
          event.target.value = "";
        }}
      />
      <button type="button" className="btn sm full" aria-busy={busy} disabled={busy} onClick={() => input.current.click()}>
        {children}
        {label}
      </button>
      {text && (
        <div className={busy ? "help" : "help bad"} role="status">
          {text}
        </div>
      )}
    </div>
  );
}
