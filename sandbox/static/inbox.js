// The list renews itself: each second it asks for what is newer than the version it shows.
const mails = document.getElementById("mails");
const search = document.querySelector("input[type=search]");

async function renew() {
  const query = new URLSearchParams(location.search);
  query.set("seen", mails.querySelector("[data-version]").dataset.version);
  const answer = await fetch(`/?${query}`);
  if (answer.status === 200) replace(await answer.text());
}

// The server has escaped everything that comes from a mail. The focus stays where it was.
function replace(html) {
  const focused = mails.contains(document.activeElement) && document.activeElement.getAttribute("href");
  mails.innerHTML = html;
  if (focused) mails.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
}

async function keepRenewing() {
  try {
    if (!document.hidden) await renew();
    document.body.classList.remove("offline");
  } catch {
    document.body.classList.add("offline");
  }
  setTimeout(keepRenewing, 1000);
}

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !event.ctrlKey && !event.metaKey && document.activeElement !== search) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});

document.getElementById("clear").addEventListener("click", async () => {
  await fetch("/api/mails", { method: "DELETE" });
  await renew();
});

keepRenewing();
