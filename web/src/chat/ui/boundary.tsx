import { Component, type ReactNode, Suspense } from "react";

interface Props {
  isShown?: boolean;
  children: ReactNode;
}

/**
 * What is fetched when it is looked at, and in its place why it is not there. Without it React would take the whole page
 * away when the server does not have the file: it is down, or has newer pages. To try again, the page has to be loaded.
 */
export class Boundary extends Component<Props> {
  state = { hasFailed: false };

  static getDerivedStateFromError() {
    return { hasFailed: true };
  }

  render() {
    const { isShown = true, children } = this.props;
    if (this.state.hasFailed) {
      return (
        <div className="page" hidden={!isShown}>
          <p className="notice" role="alert">
            This could not be shown.
          </p>
          <div className="row">
            <button type="button" onClick={() => location.reload()}>
              Load the page again
            </button>
          </div>
        </div>
      );
    }
    const wait = (
      <p className="page" role="status" hidden={!isShown}>
        One moment…
      </p>
    );
    return <Suspense fallback={wait}>{children}</Suspense>;
  }
}
