import { type ReactNode, type SyntheticEvent, useId, useLayoutEffect, useRef } from "react";

/** A dialog that is open as long as it is there. The browser keeps the focus in it, and gives it back afterwards. */
export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  // A layout effect, since that is undone while the dialog is still in the page: after that no focus is given back.
  useLayoutEffect(() => {
    const dialog = ref.current!;
    dialog.showModal();
    return () => {
      dialog.close();
      // What had it before may be gone, such as a member who was blocked.
      if (document.activeElement === document.body) document.getElementById("content")?.focus();
    };
  }, []);
  function cancel(event: SyntheticEvent) {
    event.preventDefault(); // It closes when it is not there any more.
    onClose();
  }
  return (
    <dialog ref={ref} aria-labelledby={id} onCancel={cancel}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

interface Question {
  title: string;
  children: ReactNode;
  /** What the button says that does it. */
  action: string;
  onYes: () => void;
  onNo: () => void;
}

export function Confirm({ title, children, action, onYes, onNo }: Question) {
  return (
    <Dialog title={title} onClose={onNo}>
      <p>{children}</p>
      <div className="row">
        {/* First, so that it has the focus. */}
        <button type="button" className="plain" onClick={onNo}>
          Cancel
        </button>
        <button type="button" className="danger" onClick={onYes}>
          {action}
        </button>
      </div>
    </Dialog>
  );
}
