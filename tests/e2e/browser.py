"""A real browser without a screen, as the tests drive it: selenium, over the system's chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

DRIVER = "/usr/bin/chromedriver"
SECONDS = 60


@contextmanager
def chromium(width: int = 1280, height: int = 900, script: bool = True) -> Iterator[Browser]:
    """A new browser with a profile of its own; without ``script``, one that runs no scripts.

    It takes any certificate: the site's CA is not among the machine's, and that the certificate is
    right is a test of its own.
    """
    options = Options()
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--ignore-certificate-errors",
        "--no-proxy-server",
        f"--window-size={width},{height}",
    ):
        options.add_argument(word)
    if not script:
        choice = {"profile.managed_default_content_settings.javascript": 2}
        options.add_experimental_option("prefs", choice)
    driver = webdriver.Chrome(service=Service(DRIVER), options=options)
    try:
        yield Browser(driver)
    finally:
        driver.quit()


class Browser:
    """What a person does with a page: go, read, fill in, choose, press."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def go(self, url: str) -> None:
        self.driver.get(url)

    def login(self, url: str, user: str, password: str) -> None:
        self.go(f"{url}/login")
        self.fill("User", user)
        self.fill("Password", password)
        self.press("Login")

    @property
    def url(self) -> str:
        return str(self.driver.current_url)

    @property
    def text(self) -> str:
        """What can be read on the page."""
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def has_link(self, text: str) -> bool:
        return bool(self.driver.find_elements(By.LINK_TEXT, text))

    def has_button(self, text: str) -> bool:
        return bool(self.driver.find_elements(By.XPATH, _button(text)))

    def follow(self, text: str) -> None:
        """Follow the first link with this text."""
        self.driver.find_element(By.LINK_TEXT, text).click()

    def press(self, text: str) -> None:
        """Press the first button with this text, and wait for the page that it leads to."""
        before = self.driver.find_element(By.TAG_NAME, "html")
        self.driver.find_element(By.XPATH, _button(text)).click()
        WebDriverWait(self.driver, SECONDS, 0.1).until(lambda _: _is_gone(before))

    def field(self, label: str) -> WebElement:
        """The form's field with this label."""
        found = self.driver.find_element(
            By.XPATH, f"//label[starts-with(normalize-space(.), '{label}')]"
        )
        name = found.get_attribute("for")
        if name:
            return self.driver.find_element(By.ID, name)
        return found.find_element(By.XPATH, ".//input|.//textarea|.//select")

    def fill(self, label: str, text: str) -> None:
        field = self.field(label)
        field.clear()
        field.send_keys(text)

    def choose(self, label: str, option: str) -> None:
        Select(self.field(label)).select_by_visible_text(option)

    def tick(self, label: str) -> None:
        self.field(label).click()

    def open_details(self) -> None:
        """Show what the page keeps folded."""
        for each in self.driver.find_elements(By.CSS_SELECTOR, "details:not([open]) > summary"):
            each.click()

    def rows(self) -> list[str]:
        """What each row of the page's tables says, headings left out."""
        return [each.text for each in self.driver.find_elements(By.CSS_SELECTOR, "tbody tr")]

    def choose_process(self, job: int) -> None:
        """Choose the first process of a job in the process monitor."""
        row = f"//tr[td[last()][normalize-space(.)='{job}']]//input[@type='radio']"
        self.driver.find_element(By.XPATH, row).click()

    def wait_text(self, text: str, again: bool = False) -> None:
        """Wait until the page says ``text``; with ``again``, by loading it anew."""

        def said(_: object) -> bool:
            if text in self.text:
                return True
            if again:
                self.driver.refresh()
            return False

        # The page may be on its way to the next one while it is read.
        wait = WebDriverWait(self.driver, SECONDS, 0.5, ignored_exceptions=[WebDriverException])
        wait.until(said, f"no {text!r}")

    def picture(self, path: str) -> None:
        """Save what is to be seen as PNG."""
        self.driver.save_screenshot(path)


def _is_gone(element: WebElement) -> bool:
    """Whether its page is no longer there; the driver has several words for that."""
    try:
        element.is_enabled()
    except WebDriverException:
        return True
    return False


def _button(text: str) -> str:
    return f"//button[normalize-space(.)='{text}'] | //input[@type='submit' and @value='{text}']"
