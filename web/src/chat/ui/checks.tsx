import type { Problem } from "../problem";

interface Props<Value extends string> {
  legend: string;
  name: string;
  values: Record<Value, string>;
  checked?: readonly Value[];
  problem?: Problem;
}

/** Several of a set; `values` has what each is called. */
export function Checks<Value extends string>({ legend, name, values, checked, problem }: Props<Value>) {
  const why = problem?.fields[name];
  return (
    <fieldset className="checks">
      <legend>{legend}</legend>
      {(Object.entries(values) as [Value, string][]).map(([value, words]) => (
        <label key={value}>
          <input type="checkbox" name={name} value={value} defaultChecked={checked?.includes(value)} /> {words}
        </label>
      ))}
      {why && (
        <span className="why" role="alert">
          {why}
        </span>
      )}
    </fieldset>
  );
}
