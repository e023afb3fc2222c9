"""The words that made-up records consist of. Nobody here exists; mail domains end in `.example`."""

from functools import cache
from typing import Any, Final, NamedTuple
from unicodedata import normalize


class Place(NamedTuple):
    """Where some people live: what they are called, and what a company is called there."""

    country: str
    dial: str
    company: str
    towns: list[str]
    first: list[str]
    last: list[str]


_PLACES = """\
United Kingdom|+44 20|{} Ltd|London Leeds Cardiff|Oliver Amelia Isla Harry Ava Emily Thomas|Smith Jones O'Brien MacLeod
Deutschland|+49 30|{} GmbH|Berlin München Köln|Jürgen Anna Käthe Björn Marie-Luise Felix|Müller Groß Köhler Schröder
France|+33 1|{} S.A.|Paris Orléans Besançon|Zoé Léa François Hélène Noël Élodie Inès|Lefèvre Dubois Château D'Arc
Polska|+48 22|{} Sp. z o.o.|Łódź Kraków Gdańsk|Łukasz Zofia Małgorzata Paweł Agnieszka|Wójcik Kowalski Dąbrowska Król
España|+34 91|{} S.L.|Málaga Cádiz Sevilla|Lucía Álvaro Begoña Íñigo José Núria|Núñez Fernández Ibáñez García Peña
Ελλάδα|+30 21|{} A.E.|Αθήνα Θεσσαλονίκη|Ελένη Γιώργος Νίκος Μαρία Κώστας Σοφία|Παπαδόπουλος Νικολάου Γεωργίου
中国|+86 21|{}有限公司|上海 北京 深圳 成都|伟 芳 秀英 敏 静 强 丽 雨桐|王 李 张 刘 陈 杨 欧阳 黄
日本|+81 3|株式会社{}|東京 大阪 横浜|陽菜 蓮 さくら 大輔 結衣 健太|佐藤 鈴木 高橋 渡辺 髙田
India|+91 22|{} Pvt Ltd|Mumbai Chennai दिल्ली|Priya Arjun Rohan अनिका विक्रम Farhan|Sharma Patel Khan गुप्ता Nair"""
_WORDS = """\
stems|Nordwind|Bluebird|Aurora|Sierra|Lumière|Grünwald|Östra|Montaña|Tulip|Cobalt|Atlas|Brücke|Cedar|Fjord|Heron
trades|Logistics|Foods|Software|Energie|Textiles|Robotics|Travel|Média|Optik|Paper|Studios|Pharma
pipelines|Sales|Partner|Renewals
stages|New,Prospect,Proposal,Negotiation,Won,Lost|Erstkontakt,Prüfung,Angebot,Gewonnen,Verloren|Due,Offered,Renewed,Churned
groups|Support|Billing|Technik|日本チーム
users|Ada Byron|Grace Murray|Hélène Dumas|Piet de Groot
roads|High Street|Hauptstraße|Rue de l'Église|ul. Długa|Calle Mayor|中山路|MG Road|桜通り
titles|CEO|Head of Purchasing|Geschäftsführerin|Directeur des achats|Engineer|部長
tags|customer|lead|newsletter|VIP|Messe 2024|à rappeler|partner|churned|日本語|trial
phrases|Asked for a call back next week.|Rückruf vereinbart.|Préfère être contactée par e-mail.|打ち合わせは来月です。|\
Wants an offer in writing.|Said: "the price is fine, the date is not".|Sent the contract; waiting for a signature ✍️
contacts.entity_type|contact_entity
companies.entity_type|company_entity
NoteReference.entity_type|note
RelatedContact.entity_type|contact_entity
klout_score|
color|red|#36C|green
colorName|WHITE|GREEN|ORANGE|RED|BLUE|YELLOW
created_by|CUSTOMER|AGENT|SYSTEM
last_updated_by|CUSTOMER|AGENT|SYSTEM
priority_type|HIGH|NORMAL|LOW
doc_type|SENDDOC
network_type|GOOGLE|S3
template_type|pdf
dummy_name|Untitled
url|https://files.sandbox.example/document.pdf
requester_ip_address|192.0.2.1|192.0.2.77
rules|{"nodes":[{"id":"PBXNODE","displayname":"Send e-mail"}]}
event_type|TAG_IS_ADDED|CONTACT_IS_ADDED
action|UNSUBSCRIBE_FROM_ALL|UNSUBSCRIBE_FROM_THIS_CAMPAIGN
LHS|status
CONDITION|EQUALS
RHS|NEW|OPEN|CLOSED
subject|Demo|Kick-off|Quarterly review|Vertragsgespräch|Lunch|Contract signing|打ち合わせ
contacts.type|PERSON
contacts.source|web form|import|API|trade fair|Empfehlung|phone
companies.type|COMPANY
tasks.type|CALL|EMAIL|FOLLOW_UP|MEETING|MILESTONE|SEND|TWEET|OTHER
tickets.type|QUESTION|PROBLEM|INCIDENT|TASK
tickets.subject|Cannot log in|Invoice shows the wrong amount|Passwort vergessen|App crashes on start 😟|請求書について
tickets.priority|LOW|MEDIUM|HIGH|URGENT
tickets.source|EMAIL|WEB_FORM|API
CampaignStatus.status|ACTIVE|DONE
campaigns.name|Welcome series|Spring sale|Win-back|Onboarding|Sommer-Aktion|Product news
deals.name|{} / starter plan|{} / team licence|{} / migration|{} / Wartung|{} / データ連携
documents.name|Offer {}|Contract {}|Rechnung {}|NDA {}|Présentation {}|見積書 {}
events.title|Demo / {}|Kick-off / {}|Quarterly review / {}|打ち合わせ / {}
tasks.subject|Call {}|Send the offer to {}|Prepare the demo for {}|Nachfassen bei {}|Visit {}
ticket_filters.name|All tickets|New|My open tickets|Overdue|Spam|Unassigned|締切間近"""


PLACES: Final = [
    Place(country, dial, company, towns.split(), first.split(), last.split())
    for country, dial, company, towns, first, last in (line.split("|") for line in _PLACES.splitlines())
]
WORDS: Final = {name: options for name, *options in (line.split("|") for line in _WORDS.splitlines())}
"""What a text may say, by `owner.field` or by the field alone; an owner is a resource or a nested shape.

`{}` stands for the name of a company, and for taking turns rather than chances.
"""
UNDECLARED: Final[dict[str, dict[str, tuple[Any, ...]]]] = {
    "contacts": {"x_newsletter": (True, False, "yes"), "customScore": (7.5, "33.1", 71, None)},
    "deals": {"forecastCategory": ("commit", "best case", "omitted", 3)},
    "tickets": {"satisfaction": ({"rating": 4}, {"rating": "5", "comment": "Danke"}, [3], 2)},
}
"""Fields that no model declares."""


@cache
def plain(name: str) -> str:
    """Return `name` as an e-mail address has it; empty if it is in another script."""
    folded = normalize("NFKD", name.casefold().replace("ł", "l")).encode("ascii", "ignore").decode()
    return "".join(filter(str.isalnum, folded))
