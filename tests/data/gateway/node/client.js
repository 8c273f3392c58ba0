// SendGrid's Node client, as its readers are told to use it; only `baseUrl` is another. Prints what came of each mail.

const sendgrid = require('@sendgrid/mail');

sendgrid.setApiKey(process.env.SENDGRID_API_KEY);
sendgrid.client.setDefaultRequest('baseUrl', process.env.GATEWAY);

const plain = (others = {}) => ({
  to: 'ann@example.com',
  from: 'Shop <shop@example.com>',
  subject: 'Héllo',
  text: 'Hello',
  html: '<p>Hello ☃</p>',
  ...others,
});

const file = { content: 'SGVsbG8=', filename: 'a.txt', type: 'text/plain', disposition: 'attachment' };
const picture = { content: 'SGVsbG8=', filename: 'b.png', type: 'image/png', disposition: 'inline', content_id: 'b' };
const unconverted = { ...file, contentId: 'a' };

const mails = {
  single: () => sendgrid.send(plain()),
  multiple: () => sendgrid.sendMultiple(plain({ to: ['ann@example.com', 'bob@example.com'] })),
  attached: () => sendgrid.send(plain({ attachments: [file, picture, unconverted] })),
  template: () => sendgrid.send({
    personalizations: [{ to: 'ann@example.com', dynamicTemplateData: { name: 'Ann' } }],
    from: 'shop@example.com',
    templateId: 'd-12345678901234567890123456789012',
  }),
  faulty: () => sendgrid.send(plain({ subject: '' })),
  foreign: () => sendgrid.send(plain({ from: 'shop@example.net' })),
};

async function sent(send) {
  try {
    const [answer] = await send();
    return { status: answer.statusCode, id: answer.headers['x-message-id'] };
  } catch (error) {
    if (!error.response) throw error;
    return { status: error.code, ...error.response.body };
  }
}

(async () => {
  const results = {};
  for (const [name, send] of Object.entries(mails)) results[name] = await sent(send);
  console.log(JSON.stringify(results));
})();
