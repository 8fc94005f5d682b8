// A plain form: the browser itself sends it and follows the answer to the login page.
export function Leave({ children, ...rest }) {
  return (
    <form method="post" action="/logout" {...rest}>
      {children}
    </form>
  );
}
