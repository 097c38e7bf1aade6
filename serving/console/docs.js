// The HTTP interface, read and tried out: Swagger UI on this server's own description.

/* global SwaggerUIBundle */
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#interface",
  deepLinking: true,
  validatorUrl: null, // nothing is sent elsewhere to be checked
});
