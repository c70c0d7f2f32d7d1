import { useEffect, useId, useRef, useState } from "react";

interface Props {
  label: string;
  value: string;
  onDone: () => void;
}

/** Something that is shown this once. */
export function Secret({ label, value, onDone }: Props) {
  const id = useId();
  const input = useRef<HTMLInputElement>(null);
  const [isCopied, setIsCopied] = useState(false);
  useEffect(() => {
    input.current!.focus();
    input.current!.select();
  }, []);

  async function copy() {
    await navigator.clipboard.writeText(value);
    setIsCopied(true);
  }

  return (
    <section className="card secret" aria-label={label}>
      <label htmlFor={id}>{label}</label>
      <p>Keep it now: it is shown this once.</p>
      <input id={id} ref={input} className="code" readOnly value={value} />
      <div className="row">
        {/* There is none where the page did not come by https or from this machine. */}
        {navigator.clipboard && (
          <button type="button" onClick={copy}>
            Copy
          </button>
        )}
        <button type="button" className="plain" onClick={onDone}>
          I have it
        </button>
        <span role="status">{isCopied ? "Copied." : ""}</span>
      </div>
    </section>
  );
}
