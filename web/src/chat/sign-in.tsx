import "./door.css";
import { type FormEvent, useState } from "react";
import type { User } from "./app";
import { graphql } from "./gql";
import type { Problem } from "./problem";
import { Check, Field } from "./ui/field";
import { Moon } from "./ui/icons";
import { FormNotice, Notice } from "./ui/notice";
import { useAction } from "./ui/use-action";

const REGISTER = graphql(`
  mutation Register($input: RegisterInput!) {
    register(input: $input) {
      user {
        id
        username
        role
      }
    }
  }
`);

const LOG_IN = graphql(`
  mutation LogIn($input: LoginInput!) {
    login(input: $input) {
      user {
        id
        username
        role
      }
    }
  }
`);

/** Both set the session cookie, which scripts cannot read. */
export function SignIn({ reason, onEnter }: { reason?: Problem; onEnter: (user: User) => void }) {
  const [isNew, setIsNew] = useState(false);
  return (
    <main className="door">
      <h1 className="wordmark">
        <Moon /> BambiSleep.Chat
      </h1>
      <p className="quiet">A place to talk, for adults. Companions use a trigger only if you have opted in to it.</p>
      <Notice problem={reason} />
      <div className="card">
        <div className="choice" role="group" aria-label="Have you been here before?">
          <button type="button" aria-pressed={!isNew} onClick={() => setIsNew(false)}>
            Log in
          </button>
          <button type="button" aria-pressed={isNew} onClick={() => setIsNew(true)}>
            Register
          </button>
        </div>
        {isNew ? <Register onEnter={onEnter} /> : <LogIn onEnter={onEnter} />}
      </div>
    </main>
  );
}

function LogIn({ onEnter }: { onEnter: (user: User) => void }) {
  const { run, isRunning, problem } = useAction(LOG_IN);
  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const data = await run({ input: { username: text(form, "username"), password: text(form, "password") } });
    if (data?.login) onEnter(data.login.user);
  }
  return (
    <form onSubmit={submit}>
      <h2 className="unseen">Log in</h2>
      <Username problem={problem} />
      <Field
        label="Password"
        name="password"
        type="password"
        autoComplete="current-password"
        required
        problem={problem}
      />
      <FormNotice problem={problem} />
      <button disabled={isRunning}>Enter</button>
    </form>
  );
}

function Register({ onEnter }: { onEnter: (user: User) => void }) {
  const { run, isRunning, problem } = useAction(REGISTER);
  async function submit(event: FormEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const input = {
      username: text(form, "username"),
      password: text(form, "password"),
      email: text(form, "email") || undefined,
      ofAge: form.has("ofAge"),
    };
    const data = await run({ input });
    if (data?.register) onEnter(data.register.user);
  }
  return (
    <form onSubmit={submit}>
      <h2 className="unseen">Register</h2>
      <Username problem={problem} hint="3 to 32 of A–Z, a–z, 0–9, _ and -. It cannot be changed later." />
      <Field
        label="Password"
        name="password"
        type="password"
        autoComplete="new-password"
        required
        minLength={8}
        hint="8 characters at least."
        problem={problem}
      />
      <Field
        label="E-mail (optional)"
        name="email"
        type="email"
        autoComplete="email"
        hint="For the operator to reach you; shown to nobody else."
        problem={problem}
      />
      <Check label="I am 18 or older." name="ofAge" required problem={problem} />
      <FormNotice problem={problem} />
      <button disabled={isRunning}>Make an account</button>
    </form>
  );
}

function Username({ problem, hint }: { problem?: Problem; hint?: string }) {
  return (
    <Field
      label="Username"
      name="username"
      autoComplete="username"
      autoCapitalize="none"
      spellCheck={false}
      required
      hint={hint}
      problem={problem}
    />
  );
}

function text(form: FormData, name: string) {
  return String(form.get(name) ?? "");
}
